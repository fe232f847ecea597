"""Exercise 4, counting: how many pictures go through a U-Net while something runs."""

from collections.abc import Callable

import torch
from diffusers import DiffusionPipeline

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex4 import tiny as tiny
from modarch_utils.checks.ex4.watch import Run, Watch

EXPECTED = {
    "runs": "a whole number",
    "once": "run() is called, and only once",
    "calls": "every call of the U-Net counts, as many as there are",
    "pictures": "a call for N pictures counts N",
    "guidance": "with guidance each step takes 2 N",
    "again": "a second count begins at 0",
    "hooks": "the U-Net is afterwards as it was",
    "error": "also if run() raises, which the caller hears of",
}


class Stop(Exception):
    """What a run raises to see what happens."""


def check_count_evaluations(function: Callable[..., object], seed: int = 0) -> Report:
    """All findings on a function that counts what goes through a U-Net.

    Args:
        function: ``function(pipe, run)`` calls ``run()`` and gives the number of samples that
            ``pipe.unet`` was called with meanwhile.
        seed: decides the weights.
    """
    with tiny.quiet():
        return _Count(function, seed).report()


class _Count:
    def __init__(self, function: Callable, seed: int):
        self.function = function
        self.pipe = tiny.pipeline(seed)  # PNDM: one call more than steps
        self.watch = Watch(self.pipe)
        self.times, self.before = 0, _state(self.pipe)
        self.counted: dict[tuple, tuple[float, int, int]] = {}

    def report(self) -> Report:
        kind = type(self.pipe.unet)
        methods = kind.forward, kind.__call__
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("once", self._once)
            rows.add("calls", self._calls, ("once",))
            rows.add("pictures", self._pictures, ("once", "calls"))
            rows.add("guidance", self._guidance, ("once", "calls", "pictures"))
            rows.add("again", self._again, ("once",))
            rows.add("hooks", self._hooks)
            rows.add("error", self._error, ("once",))
        kind.forward, kind.__call__ = methods  # whatever was put there
        return rows.report("count_evaluations")

    def _count(self, pictures=1, steps=2, guidance=1.0, again=False) -> tuple[float, int, int]:
        """The student's number; the calls and the samples that there were in the last run.

        Rows that look at the same count share it, unless it is made `again`.
        """
        case = pictures, steps, guidance
        if case in self.counted and not again:
            return self.counted[case]
        self.times = 0

        def run():
            self.times += 1
            return self.pipe(
                tiny.PROMPTS[:pictures],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            ).images

        came = _number(call(self.function, self.pipe, run, hint=_hint))
        last = self.watch.runs[-1] if self.times else Run()
        self.counted[case] = came, len(last.calls), last.samples
        return self.counted[case]

    def _runs(self) -> Seen:
        self._count()
        return RIGHT

    def _once(self) -> Seen:
        if self.times == 1:
            return RIGHT
        if not self.times:
            return wrong("it is never called", "Call run() while you are counting.")
        return wrong(f"{self.times} calls", "Call run() once: whatever it does happens once more.")

    def _calls(self) -> Seen:
        for steps in (2, 4):
            came, calls, _ = self._count(steps=steps)
            if came == calls:
                continue
            if came == 2 * calls:
                return wrong(
                    f"{came:g} where there were {calls} calls, without guidance",
                    "Is the factor 2 of guidance assumed? Or is it len(inputs), the two arguments? "
                    "The hook's inputs are a tuple: add len(inputs[0]) at every call.",
                )
            if came == steps:
                return wrong(
                    f"{came:g} where there were {calls} calls",
                    "These are the steps: PNDM calls the U-Net once more than it makes steps. "
                    "Count the calls themselves, in a hook.",
                )
            return wrong(
                f"{came:g} where there were {calls} calls with one sample each",
                "Add len(sample) at every call: the hook's inputs are a tuple, and the sample is "
                "its first entry.",
            )
        return RIGHT

    def _pictures(self) -> Seen:
        came, calls, samples = self._count(pictures=3)
        if came == samples:
            return RIGHT
        if came == calls:
            return wrong(
                f"{came:g} for {calls} calls with 3 pictures each",
                "These are calls, or evaluations for one picture. A call works on a whole batch: "
                "add up the sizes of the batches.",
            )
        return wrong(f"{came:g} where {samples} is right", "Add up the sizes of the batches.")

    def _guidance(self) -> Seen:
        for pictures in (2, 1):
            came, calls, samples = self._count(pictures=pictures, guidance=3.0)
            if came != samples:
                return wrong(
                    f"{came:g} for {calls} calls with 2 · {pictures} samples each",
                    "With guidance each picture goes through the U-Net twice in a step, once with "
                    "an empty prompt: count what the U-Net is given, not what you know.",
                )
        return RIGHT

    def _again(self) -> Seen:
        (first, *_), (second, *_) = self._count(), self._count(again=True)
        if second == first:
            return RIGHT
        return wrong(
            f"{first:g}, then {second:g} for the same run",
            "The counter, or the hook with it, lives on from the first count: begin at 0 inside "
            "of the function.",
        )

    def _hooks(self) -> Seen:
        return RIGHT if _state(self.pipe) == self.before else self._left("after the count")

    def _error(self) -> Seen:
        self.before = _state(self.pipe)

        def run():
            raise Stop

        try:
            self.function(self.pipe, run)
        except Stop:
            if _state(self.pipe) == self.before:
                return RIGHT
            return self._left("after an error in run()")
        except Exception as error:
            return wrong(f"{type(error).__name__}", "Let run()'s own error pass.")
        return wrong(
            "the error is swallowed", "A failed run must not look like a count: let it pass."
        )

    def _left(self, when: str) -> Seen:
        return wrong(
            f"{when}, something of yours is still on the U-Net",
            "Remove it whatever happens: `with hook:` around run(), or try ... finally.",
        )


def _state(pipe: DiffusionPipeline) -> tuple:
    """What somebody could have left on a U-Net: hooks, and methods of the object itself."""
    unet = pipe.unet
    hooks = [
        list(hooks)
        for module in unet.modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
    ]
    methods = [name for m in unet.modules() for name in ("forward", "__call__") if name in vars(m)]
    return id(unet), hooks, methods, type(unet).forward, type(unet).__call__


def _number(result: object) -> float:
    """The student's count. Raises Unusable for what is no number."""
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if isinstance(result, torch.Tensor) and result.numel() == 1:
        result = result.item()
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise Unusable(f"a {type(result).__name__}", "Return the number alone.")
    if result != int(result):
        raise Unusable(f"{result:g}", "A count is a whole number: divide by nothing.")
    return result


def _hint(message: str) -> str:
    if "positional argument" in message and ("hook" in message or "lambda" in message):
        return "A forward hook gets (module, inputs, output), a forward pre-hook (module, inputs)."
    return tiny.hint(message)
