"""Sound files that strangers may have made, as one channel at a given rate.

Through soundfile where it is installed (WAV, FLAC, Ogg, MP3, AIFF), else the standard library, which reads WAV in PCM.
"""

import wave
from io import BytesIO
from math import gcd
from pathlib import Path

import numpy as np
import numpy.typing as npt

from offline.encoding.encoder import EXTRA, FloatArray, UnreadableContentError
from offline.encoding.image_files import read_bytes

RATES = (1_000, 768_000)  # Hz, of what can be meant
MOST_CHANNELS = 32


def read_sound(path: Path, *, rate: int, max_seconds: float, max_bytes: int) -> FloatArray:
    """The beginning of a sound: float32 [samples], mono (mean of the channels), between -1 and 1.

    Args:
        path: the file.
        rate: samples per second of what comes out.
        max_seconds: how much is read; a small file may hold hours.
        max_bytes: of the file.

    Raises:
        UnreadableContentError: no such file, too large, no sound, or one without any sample.
    """
    data = read_bytes(path, max_bytes)
    channels, found_rate = _with_soundfile(data, max_seconds)
    if not len(channels):
        raise UnreadableContentError("holds no sample: its length is zero")
    mono = channels.mean(axis=1)
    if not np.isfinite(mono).all():
        raise UnreadableContentError("holds samples that are not finite")
    return _at_rate(mono.astype(np.float32), found_rate, rate)


def _with_soundfile(data: bytes, max_seconds: float) -> tuple[npt.NDArray[np.float32], int]:
    try:
        import soundfile
    except ImportError:
        return _with_wave(data, max_seconds)
    try:
        with soundfile.SoundFile(BytesIO(data)) as sound:
            _check_head(sound.samplerate, sound.channels)
            frames = sound.read(int(max_seconds * sound.samplerate), dtype="float32", always_2d=True)
            return frames, int(sound.samplerate)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        if isinstance(error, UnreadableContentError):
            raise
        said = getattr(error, "error_string", error)  # the whole text names the address of our buffer
        raise UnreadableContentError(f"is no sound that can be read ({said})") from error


def _with_wave(data: bytes, max_seconds: float) -> tuple[npt.NDArray[np.float32], int]:
    try:
        with wave.open(BytesIO(data)) as sound:
            rate, channels, width = sound.getframerate(), sound.getnchannels(), sound.getsampwidth()
            _check_head(rate, channels)
            raw = sound.readframes(int(max_seconds * rate))
    except (wave.Error, EOFError, ValueError) as error:
        if isinstance(error, UnreadableContentError):
            raise
        raise UnreadableContentError(
            f"is no WAV in PCM ({str(error) or 'it ends too early'}); for other kinds of files: {EXTRA}"
        ) from error
    whole = raw[: len(raw) // (width * channels) * width * channels]
    return _as_floats(whole, width).reshape(-1, channels), rate


def _as_floats(raw: bytes, width: int) -> npt.NDArray[np.float32]:
    """PCM of 1 to 4 bytes a sample, between -1 and 1; one byte is unsigned, more are signed and little-endian."""
    if width == 1:
        return ((np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128).astype(np.float32)
    padded = np.zeros((len(raw) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return (padded.view("<i4")[:, 0] / 2.0**31).astype(np.float32)


def _check_head(rate: int, channels: int) -> None:
    if not RATES[0] <= rate <= RATES[1] or not 1 <= channels <= MOST_CHANNELS:
        raise UnreadableContentError(
            f"says it has {rate} samples a second in {channels} channels; {RATES[0]} to {RATES[1]} in 1 to "
            f"{MOST_CHANNELS} can be read"
        )


def _at_rate(mono: FloatArray, found: int, wanted: int) -> FloatArray:
    if found == wanted:
        return mono
    from scipy.signal import resample_poly

    common = gcd(found, wanted)
    return np.asarray(resample_poly(mono, wanted // common, found // common), dtype=np.float32)
