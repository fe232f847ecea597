"""The device is named or found, tried, and left alone if it does not compute as it should."""

import re
import warnings

import pytest
import torch

from modarch_utils import devices

KERNEL = "CUDA error: no kernel image is available for execution on the device"


def machine(*kinds, broken=()):
    """What `choose` asks: whether a device is there, and a trial that some devices fail."""
    return lambda kind: kind == "cpu" or kind in kinds, lambda kind, _: KERNEL * (kind in broken)


@pytest.mark.parametrize(
    ("wanted", "kinds", "found"),
    [
        ("", ("cuda", "mps"), "cuda"),
        ("", ("mps",), "mps"),
        ("", (), "cpu"),
        ("cpu", ("cuda",), "cpu"),
        (" MPS ", ("cuda", "mps"), "mps"),
    ],
)
def test_the_named_device_or_the_fastest(wanted, kinds, found):
    with warnings.catch_warnings(action="error"):
        assert devices.choose(wanted, *machine(*kinds)).type == found


@pytest.mark.parametrize(("wanted", "words"), [("gpu", "names no device"), ("cuda", "no such dev")])
def test_a_wrong_name_and_an_absent_device(wanted, words):
    with pytest.raises(ValueError, match=f"MODARCH_DEVICE='?{wanted}.*{words}"):
        devices.choose(wanted, *machine())


@pytest.mark.parametrize("wanted", ["", "cuda"])
def test_a_card_that_torch_was_not_built_for_gives_the_cpu(wanted):
    with pytest.warns(UserWarning, match="cuda .*no kernel image.* without it") as told:
        assert devices.choose(wanted, *machine("cuda", broken=["cuda"])).type == "cpu"
    assert len(told) == 1 and "\n" not in str(told[0].message)


@pytest.mark.parametrize(
    ("kind", "lacks", "wanted", "found"),
    [
        ("cuda", (), "bf16", "bf16"),
        ("cuda", ("bf16",), "bf16", "fp16"),
        ("cuda", ("bf16", "fp16"), "bf16", "no"),
        ("cuda", ("fp16",), "fp16", "no"),
        ("cpu", ("bf16",), "bf16", "no"),
        ("mps", ("bf16", "fp16"), "no", "no"),
    ],
)
def test_a_precision_that_the_device_lacks_is_replaced(kind, lacks, wanted, found):
    missing = {devices.DTYPES[name] for name in lacks}

    def trial(_, dtype):
        return "cuDNN finds no engine" * (dtype in missing)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert devices.choose_precision(kind, wanted, trial) == found
    assert len(told) == (found != wanted)
    if told:
        words = f"not compute in {wanted} .*no engine.*uses {'float32' if found == 'no' else found}"
        assert re.search(words, str(told[0].message))


def test_the_trial_passes_what_computes_and_names_what_does_not():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert devices.trial("cpu", dtype) == ""
    # A device that no machine has: torch refuses it in words of its own.
    assert devices.trial("vulkan", torch.float32)


@pytest.mark.parametrize("fault", [lambda x: x * 1.1, lambda x: x * float("nan"), torch.zeros_like])
def test_the_trial_compares_numbers(monkeypatch, fault):
    right = devices._convolved

    def wrong(kind, dtype):
        found = right("cpu", dtype)
        return [*found[:2], fault(found[2])] if kind == "mps" else found  # one gradient of three

    monkeypatch.setattr(devices, "_convolved", wrong)
    assert devices.trial("mps", torch.float32) == "its results are not the CPU's"
    assert devices.trial("cpu", torch.float32) == ""


def test_the_variable_is_read_and_the_trial_happens_once(monkeypatch):
    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    assert devices.current() == torch.device("cpu")
    calls = []
    monkeypatch.setattr(devices, "trial", lambda *given: calls.append(given) or "broken")
    devices._precise.cache_clear()
    with pytest.warns(UserWarning, match="does not compute in bf16 .broken., so .* float32"):
        assert devices.precision("bf16") == "no"
    assert devices.precision("bf16") == "no" and len(calls) == 1
    devices._precise.cache_clear()
    monkeypatch.setenv("MODARCH_DEVICE", "abacus")
    with pytest.raises(ValueError, match="abacus"):
        devices.current()
