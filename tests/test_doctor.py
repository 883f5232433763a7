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


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, as far as the kernels are concerned."""
    import torch

    for look in ("_python", "_stack", "_torch", "_known", "_folders"):
        monkeypatch.setattr(doctor, look, lambda: iter(()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LLMREC_SSM_BACKEND", raising=False)


def kernels(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], broken: dict[str, str] | None = None
) -> dict[str, Finding]:
    """What is found where these versions are installed, and these modules say this when they are imported."""
    monkeypatch.setattr(doctor, "installed", versions.get)
    monkeypatch.setattr(doctor, "broken_import", (broken or {}).get)
    return {finding.what: finding for finding in examine()}


SCAN = "No module named 'selective_scan_cuda'"
KERNELS = "mamba_ssm.ops.triton.ssd_combined"


def test_kernels_that_load_are_named_with_their_versions(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    found = kernels(monkeypatch, {"mamba-ssm": "2.3.2.post1", "causal-conv1d": "1.7.0"})
    assert found["mamba-ssm"].level == found["causal-conv1d"].level == "ok"
    assert found["mamba-ssm"].words.startswith("2.3.2.post1; the first steps are slow")
    assert found["causal-conv1d"].words == "1.7.0"


def test_kernels_that_are_missing_are_named_with_both_build_switches(
    monkeypatch: pytest.MonkeyPatch, gpu: None
) -> None:
    found = kernels(monkeypatch, {})["mamba-ssm"]
    assert found.level == "note"
    assert "MAMBA_KEEP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-build-isolation" in found.words
    assert "(needs nvcc, brings tilelang, apache-tvm-ffi, quack-kernels, triton)" in found.words


@pytest.mark.parametrize("version", ["2.2.4", "2.3.2", "2.3.2.post1"])
def test_a_release_that_skipped_its_cuda_build_cannot_load(
    version: str, monkeypatch: pytest.MonkeyPatch, gpu: None
) -> None:
    found = kernels(monkeypatch, {"mamba-ssm": version}, {KERNELS: SCAN, "selective_scan_cuda": SCAN})["mamba-ssm"]
    assert found.level == "warning"
    assert f"{version} was built with MAMBA_SKIP_CUDA_BUILD, and releases up to 2.3.2.post1 import" in found.words
    assert "unset it and build again" in found.words


@pytest.mark.parametrize("version", ["2.3.2.post1", "2.3.3", "2.4.0"])  # a checkout may still call itself post1
def test_since_july_2026_a_build_without_cuda_lacks_only_mamba_1(
    version: str, monkeypatch: pytest.MonkeyPatch, gpu: None
) -> None:
    found = kernels(monkeypatch, {"mamba-ssm": version}, {"selective_scan_cuda": SCAN})["mamba-ssm"]
    assert found.level == "note"
    assert "Mamba-1, built only with MAMBA_KEEP_CUDA_BUILD=TRUE, uses plain torch" in found.words


def test_what_mamba_ssm_pulls_in_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    versions = {"mamba-ssm": "2.3.2.post1", "triton": "3.5.0", "quack-kernels": "0.3.4"}
    found = kernels(monkeypatch, versions, {KERNELS: "No module named 'tilelang'"})["mamba-ssm"]
    assert found.level == "warning"
    assert "tilelang, apache-tvm-ffi not installed" in found.words
    versions = {"mamba-ssm": "2.2.4"}  # needs none of these
    found = kernels(monkeypatch, versions, {KERNELS: "undefined symbol: _ZN3c10"})["mamba-ssm"]
    assert "a wheel for another torch or CUDA; build it here" in found.words


def test_without_a_gpu_kernels_are_of_no_use(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = kernels(monkeypatch, {"mamba-ssm": "2.3.2"})
    assert found["mamba-ssm"].words == "2.3.2, of no use without CUDA; plain torch is used"
    assert found["causal-conv1d"].level == "ok"
    assert found["state spaces"] == Finding("ok", "state spaces", "plain torch, because torch sees no CUDA device")


def test_what_state_spaces_run_on_and_why(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    monkeypatch.setenv("LLMREC_SSM_BACKEND", "torch")
    assert kernels(monkeypatch, {})["state spaces"].words == "plain torch, because LLMREC_SSM_BACKEND says so"
    monkeypatch.setenv("LLMREC_SSM_BACKEND", "cuda")
    assert kernels(monkeypatch, {})["state spaces"].level == "fault"


def test_spark_without_java_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: {"pyspark": "4.3.0"}.get(package))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for java, level in ((None, "warning"), ("/usr/bin/java", "ok")):
        monkeypatch.setattr(doctor.shutil, "which", lambda name, java=java: java)
        told = {finding.what: finding for finding in doctor._engines()}
        assert told["pyspark"].level == level
        assert told["duckdb"].level == "note"


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
