"""`encode --modality audio`: sounds through an encoder that gives their mean and the mean of their squares."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from offline.encoding.audio_encoder import AudioSettings, windows_of
from offline.encoding.audio_files import read_sound
from offline.encoding.encoder import UnreadableContentError
from tests.offline.encoding.made_encoders import RATE, loudness, write_items, write_sound

LIMITS = {"rate": RATE, "max_seconds": 10.0, "max_bytes": 1_000_000}


def features(data: Path) -> np.ndarray:
    return np.load(data / "features" / "audio.npy", allow_pickle=False)


@pytest.fixture(params=["soundfile", "standard library"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read a WAV."""
    if request.param == "standard library":
        monkeypatch.setitem(sys.modules, "soundfile", None)
    else:
        pytest.importorskip("soundfile", reason="pip install 'mmgrec[encode]'")
    return request.param


def test_sounds_become_rows_in_the_order_of_the_items(job, reader: str, tmp_path: Path, sound_encoder: Path) -> None:
    data = write_items(tmp_path / "shop", audio_file=["loud.wav", None, "quiet.wav"])
    write_sound(data / "loud.wav", np.full(RATE, 0.5))
    write_sound(data / "quiet.wav", np.tile([0.25, -0.25], RATE // 2))
    call = ("encode", "--data", data, "--modality", "audio", "--encoder", sound_encoder, "--window-seconds", 1)
    found = job(*call).result
    np.testing.assert_allclose(features(data), [[0.5, 0.25], [np.nan, np.nan], [0, 0.0625]], atol=1e-4)
    assert found.items() >= {"name": "audio", "dim": 2, "items": 3, "encoded": 2, "missing": 1}.items()
    assert job(*call).result.items() >= {"encoded": 0, "reused": 2}.items()


@pytest.mark.parametrize("shape", [("n", "samples"), ("n", 1, "samples"), ("n", RATE), (3, RATE), (1, 1, RATE)])
def test_windows_are_averaged_for_every_form_of_graph(job, tmp_path: Path, shape: tuple) -> None:
    """The first sound has two windows, 0.5 and 0; the second one of 0.25."""
    data = write_items(tmp_path / "shop", audio_file=["long.wav", "short.wav"])
    write_sound(data / "long.wav", np.repeat([0.5, 0.0], RATE))
    write_sound(data / "short.wav", np.full(RATE, 0.25))
    encoder = loudness(tmp_path / "encoder", shape)
    window = () if shape[-1] == RATE else ("--window-seconds", 1)
    job("encode", "--data", data, "--modality", "audio", "--encoder", encoder, *window).result  # noqa: B018
    np.testing.assert_allclose(features(data), [[0.25, 0.125], [0.25, 0.0625]], atol=1e-4)


def test_how_windows_are_cut() -> None:
    def cut(samples: int, **changes) -> list[list[float]]:
        settings = {"sampling_rate": 1000, "window": 4, "normalise": False, "max_seconds": 1.0, **changes}
        return windows_of(np.arange(1, samples + 1, dtype=np.float32), AudioSettings(**settings)).tolist()

    assert cut(1) == [[1, 0, 0, 0]]  # filled with silence
    assert cut(5) == [[1, 2, 3, 4]]  # less than half a window is left out
    assert cut(6) == [[1, 2, 3, 4], [5, 6, 0, 0]]
    assert cut(8) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    (window,) = cut(4, normalise=True)
    np.testing.assert_allclose([np.mean(window), np.std(window)], [0, 1], atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_a_sample_gives_the_same_sound(reader: str, tmp_path: Path, width: int) -> None:
    samples = np.array([0.0, 0.5, -0.5, 0.25])
    sound = read_sound(write_sound(tmp_path / "a.wav", samples, width=width), **LIMITS)
    np.testing.assert_allclose(sound, samples, atol=0.01)
    assert sound.dtype == np.float32


def test_channels_become_one_and_the_rate_the_encoders(reader: str, tmp_path: Path) -> None:
    both = np.stack([np.full(2 * RATE, 0.5), np.full(2 * RATE, 0.1)], axis=1)
    sound = read_sound(write_sound(tmp_path / "a.wav", both, rate=2 * RATE), **LIMITS)
    assert len(sound) == RATE
    np.testing.assert_allclose(sound[100:-100], 0.3, atol=0.005)


def test_a_tone_keeps_its_pitch_at_another_rate(tmp_path: Path) -> None:
    times = np.arange(44_100) / 44_100
    file = write_sound(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * times), rate=44_100)
    spectrum = np.abs(np.fft.rfft(read_sound(file, **LIMITS)))
    assert spectrum.argmax() == 440  # a second of sound: one bin is 1 Hz


def test_what_is_too_long_is_cut(reader: str, tmp_path: Path) -> None:
    file = write_sound(tmp_path / "a.wav", np.zeros(3 * RATE))
    assert len(read_sound(file, **{**LIMITS, "max_seconds": 2.0})) == 2 * RATE


def test_other_kinds_of_files(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="pip install 'mmgrec[encode]'")
    for suffix in ("flac", "ogg", "aiff"):
        soundfile.write(tmp_path / f"a.{suffix}", np.full(RATE, 0.5), RATE)
        sound = read_sound(tmp_path / f"a.{suffix}", **LIMITS)
        np.testing.assert_allclose(sound[1000:7000], 0.5, atol=0.05)


def test_a_reason_names_no_buffer_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="pip install 'mmgrec[encode]'")
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(UnreadableContentError, match=r"is no sound that can be read \(Format not recognised"):
        read_sound(tmp_path / "a.wav", **LIMITS)


def bad_wav(**changes: int) -> bytes:
    """The head of a WAV in PCM with other numbers in it, and four bytes of sound."""
    head = {"channels": 1, "rate": RATE, "bits": 16, "length": 4, **changes}
    numbers = [
        b"RIFF" + (40).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + (1).to_bytes(2, "little"),
        head["channels"].to_bytes(2, "little") + head["rate"].to_bytes(4, "little"),
        (head["rate"] * 2 % 2**32).to_bytes(4, "little") + (2).to_bytes(2, "little"),
        head["bits"].to_bytes(2, "little") + b"data" + head["length"].to_bytes(4, "little"),
        b"\x01\x02\x03\x04"[: head["length"]],
    ]
    return b"".join(numbers)


BAD_SOUNDS = {
    "empty file": b"",
    "text": b"<html>Not found</html>",
    "cut off in its head": bad_wav()[:30],
    "zero length": bad_wav(length=0),
    "no channel": bad_wav(channels=0),
    "too many channels": bad_wav(channels=999),
    "too low a rate": bad_wav(rate=1),
    "too high a rate": bad_wav(rate=2**31),
    "too large a file": b"RIFF" + bytes(1_000_001),
}


@pytest.mark.parametrize("content", BAD_SOUNDS.values(), ids=BAD_SOUNDS)
def test_sounds_that_cannot_be_used(reader: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UnreadableContentError):
        read_sound(tmp_path / "a.wav", **LIMITS)


def test_a_wav_that_promises_more_than_it_has(reader: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(
        bad_wav(length=4)[:-4].replace(b"\x04\0\0\0", b"\xff\xff\xff\x7f") + b"\x00\x40" * 2
    )
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", **LIMITS), [0.5, 0.5], atol=1e-3)


def test_a_zero_length_sound_is_missing_and_counted(job, tmp_path: Path, sound_encoder: Path) -> None:
    data = write_items(tmp_path / "shop", audio_file=["sound.wav", "silence.wav"])
    write_sound(data / "sound.wav", np.full(RATE, 0.5))
    write_sound(data / "silence.wav", [])
    call = ("encode", "--data", data, "--modality", "audio", "--encoder", sound_encoder)
    ended = job(*call)
    assert (ended.code, ended.out) == (2, "")
    assert "The first is of item 'b': " in ended.err
    assert job(*call, "--max-missing-share", 0.5).result.items() >= {"missing": 1, "failed": 1}.items()
    reasons = json.loads((data / "features" / ".audio.part" / "failed.json").read_text())
    assert reasons["b"].endswith("silence.wav: holds no sample: its length is zero")
    assert np.isnan(features(data)[1]).all()


def test_other_files_than_wav_need_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(UnreadableContentError, match=r"for other kinds of files: pip install 'mmgrec\[encode\]'"):
        read_sound(tmp_path / "a.flac", **LIMITS)


BAD_CALLS = {
    "no rate": (("n", "s"), {"feature_size": 1}, (), "sampling rate of the encoder is not known (None)"),
    "rate is no number": (("n", "s"), {"sampling_rate": "16k"}, (), "is not known ('16k')"),
    "another window than the graph's": (
        ("n", RATE),
        {"sampling_rate": RATE},
        ("--window-seconds", 2),
        "takes 8000 samples, which are 1 s at 8000 Hz, not --window-seconds 2",
    ),
    "spectrogram": (("n", 80, "frames"), {"sampling_rate": RATE}, (), "export the model with its spectrogram inside"),
    "image": (("n", 3, 4, 4), {"sampling_rate": RATE}, (), "has 4 axes"),
}


@pytest.mark.parametrize(("shape", "settings", "flags", "named"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_encoders_that_cannot_be_used(job, tmp_path: Path, shape, settings, flags, named: str) -> None:
    data = write_items(tmp_path / "shop", audio_file=["a.wav"])
    write_sound(data / "a.wav", np.full(RATE, 0.5))
    encoder = loudness(tmp_path / "encoder", shape, settings)
    ended = job("encode", "--data", data, "--modality", "audio", "--encoder", encoder, *flags)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert named in ended.err
