"""The benchmark of loading histories, on a few users."""

import json
import sys

import pytest

from benchmarks import load_histories


def test_both_settings_are_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["load_histories", "--users", "70", "--history", "3"])
    assert load_histories.main() == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["users"], report["history"]) == (70, 3)
    for setting in ("without_file", "append_only_file"):
        assert all(figure > 0 for figure in report[setting].values())
        assert report[setting]["bytes_per_user"] < 1000


def test_the_histories_are_ordered_in_time() -> None:
    histories = load_histories.made_up(5, 4, seed=0)
    assert histories.times is not None
    assert (histories.times.reshape(5, 4)[:, 1:] >= histories.times.reshape(5, 4)[:, :-1]).all()
    assert histories.offsets.tolist() == [0, 4, 8, 12, 16, 20]
