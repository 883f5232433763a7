"""The doctor finds what was done to the patient, and survives a broken library."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec import doctor
from llmrec.doctor import Finding, examine


def found(what: str) -> list[Finding]:
    """The findings about one thing."""
    return [finding for finding in examine() if finding.what == what]


def test_this_installation_is_sound() -> None:
    assert [finding for finding in examine() if finding.level == "fault"] == []
    assert found("torch")[0].level == "ok"


def test_a_trl_that_is_too_new_is_a_fault_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda package: "1.17.0" if package == "trl" else real(package))
    (finding,) = found("trl")
    assert finding.level == "fault"
    assert "1.17.0 is not supported (ORPOTrainer is under trl.experimental" in finding.words
    assert "pip install 'trl>=1.16,<1.17'" in finding.words


def test_a_missing_library_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda package: None if package == "peft" else real(package))
    assert found("peft") == [Finding("fault", "peft", "is not installed; pip install 'peft>=0.21'")]


def test_more_threads_than_cores_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    assert found("threads")[0].level == "warning"


def test_telemetry_is_on_unless_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "CI", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    assert found("telemetry")[0].level == "note"
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    assert found("telemetry")[0].level == "ok"


def test_a_run_folder_that_is_a_file_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("", encoding="utf-8")
    monkeypatch.setenv("LLMREC_RUNS", str(tmp_path / "runs"))
    assert found("run folders")[0].level == "fault"


def test_little_room_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM_GB", 1e12)
    assert found("dataset cache")[0].level == "warning"


def test_one_broken_look_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def broken() -> int:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(torch, "get_num_threads", broken)
    assert Finding("fault", "torch", "cannot be examined: RuntimeError: driver too old") in examine()
    assert found("run folders")
