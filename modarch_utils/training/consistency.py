"""Latent consistency distillation (Luo et al. 2023, arXiv 2310.04378) and sampling with its result.

A diffusion model's samples end a trajectory: from pure noise, step by step, along the ODE that the
model defines. A *consistency function* f(x, t) gives, at any point of a trajectory, where that
trajectory ends. A student learns it from a frozen teacher: a point and the teacher's next point on
the same trajectory shall have the same answer.

x is (N, ...): latents (N, C, H, W) as well as points (N, 2). Times t are (N,) integers from 0,
nearly clean, to T - 1, nearly noise, as in diffusers.
"""

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from modarch_utils.training.dino import ema_update

LOSSES = ("huber", "l2")
PREDICTIONS = ("epsilon", "sample")
CLEAN = -1
"""The time after the last step: no noise at all."""


class Network(Protocol):
    """What is distilled. A teacher is called without ``omega``."""

    def __call__(self, x: Tensor, t: Tensor, condition: Any, omega: Tensor | None = None) -> Tensor:
        """Predict from x (N, ...) at t (N,) and a condition (None: none) a tensor like x.

        ``omega`` (N,) is the guidance scale that the student shall imitate.
        """


@dataclass(frozen=True)
class ConsistencyConfig:
    """Noise, parametrisation and objective. Defaults are those of diffusers' LCM.

    Raises ValueError for a setting that cannot work.
    """

    train_steps: int = 1000
    """T, the times of the noise schedule."""
    beta_start: float = 0.00085
    beta_end: float = 0.012
    skip: int = 20
    """k: the teacher's step, in times; T / k boundary times remain."""
    prediction: str = "epsilon"
    """What the student's network returns: ``"epsilon"``, the noise, or ``"sample"``, x at t = 0.
    The teacher always returns the noise."""
    boundary: bool = True
    """f(x, 0) = x by construction. Off: f is the predicted x at t = 0 as it comes."""
    timestep_scaling: float = 10.0
    """s in :func:`scalings`."""
    sigma_data: float = 0.5
    loss: str = "huber"
    """``"huber"``: pseudo-Huber; ``"l2"``: the paper's squared error."""
    huber_c: float = 1e-3
    ema: float = 0.95
    """The target's momentum; 0.999943 in the paper, for 100,000 steps."""
    omega: tuple[float, float] | None = None
    """Bounds between which the guidance scale is drawn; [2, 14] in the paper. None: no guidance."""

    def __post_init__(self) -> None:
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError("Betas must rise from beta_start to beta_end within (0, 1).")
        if self.skip < 1 or self.train_steps % self.skip:
            raise ValueError(
                f"skip must divide the {self.train_steps} times evenly, and {self.skip} does not."
            )
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {PREDICTIONS}, not {self.prediction!r}.")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {LOSSES}, not {self.loss!r}.")
        if min(self.timestep_scaling, self.sigma_data, self.huber_c) <= 0:
            raise ValueError("timestep_scaling, sigma_data and huber_c must be positive.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), and {self.ema} does not.")
        if self.omega is not None and not 0 <= self.omega[0] <= self.omega[1]:
            raise ValueError("omega needs a lower and an upper bound, neither below 0.")

    @cached_property
    def schedule(self) -> "NoiseSchedule":
        """Stable Diffusion's ``scaled_linear`` noise schedule."""
        root = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.train_steps)
        return NoiseSchedule.from_betas(root**2)

    @cached_property
    def times(self) -> Tensor:
        """(T / k,) the boundary times k - 1, 2k - 1, ..., T - 1, where teacher steps begin."""
        return torch.arange(self.skip - 1, self.train_steps, self.skip)


class NoiseSchedule(NamedTuple):
    """How much signal and how much noise: x_t = α_t x_0 + σ_t ε, with α² + σ² = 1."""

    alphas: Tensor
    """(T + 1,) the signal's factor; at index :data:`CLEAN`, the last, it is 1."""
    sigmas: Tensor
    """(T + 1,) the noise's factor; at index :data:`CLEAN` it is 0."""

    @classmethod
    def from_betas(cls, betas: Tensor) -> "NoiseSchedule":
        """From the variances (T,) that the forward process adds at each time."""
        signal = torch.cat(((1 - betas).cumprod(0), torch.ones(1)))
        return cls(signal.sqrt(), (1 - signal).sqrt())

    def at(self, t: Tensor | int, x: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at t, shaped so that they multiply x (N, ...)."""
        index = torch.as_tensor(t, device=x.device)
        return tuple(like(values.to(x)[index], x) for values in self)

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """Take clean x (N, ...) to time t with noise (N, ...) from a standard normal."""
        alpha, sigma = self.at(t, x)
        return alpha * x + sigma * noise

    def clean(self, x: Tensor, epsilon: Tensor, t: Tensor | int) -> Tensor:
        """The x_0 from which x (N, ...) came if its noise was ``epsilon``."""
        alpha, sigma = self.at(t, x)
        return (x - sigma * epsilon) / alpha

    def ddim_step(self, x: Tensor, epsilon: Tensor, t: Tensor | int, s: Tensor | int) -> Tensor:
        """From t to an earlier time s along the ODE (DDIM, Song et al. 2021, arXiv 2010.02502)."""
        return self.add_noise(self.clean(x, epsilon, t), epsilon, s)


def like(values: Tensor, x: Tensor) -> Tensor:
    """One value (N,) for each sample, or one for all, shaped so that it multiplies x (N, ...)."""
    return values.to(x).expand(len(x)).view(-1, *(1,) * (x.ndim - 1))


def scalings(t: Tensor | int, config: ConsistencyConfig) -> tuple[Tensor, Tensor]:
    """c_skip and c_out of f = c_skip x + c_out x̂_0: (1, 0) at t = 0, so that f(x, 0) = x.

    Times are multiplied by ``timestep_scaling``, so c_out is nearly 1 from t = 1 on.
    """
    scaled, variance = torch.as_tensor(t) * config.timestep_scaling, config.sigma_data**2
    total = scaled**2 + variance
    return variance / total, scaled / total.sqrt()


def guided(conditional: Tensor, unconditional: Tensor, omega: Tensor) -> Tensor:
    """Classifier-free guidance, (1 + ω) ε_c - ω ε_∅, with ω (N,) (section 4.2).

    diffusers' ``guidance_scale`` is 1 + ω: 0 here and 1 there are the conditional prediction.
    """
    omega = like(omega, conditional)
    return (1 + omega) * conditional - omega * unconditional


def denoise(output: Tensor, x: Tensor, t: Tensor | int, config: ConsistencyConfig) -> Tensor:
    """f(x, t), from what the student's network returned for x (N, ...) at t."""
    if config.prediction == "epsilon":
        output = config.schedule.clean(x, output, t)
    if not config.boundary:
        return output
    c_skip, c_out = (like(c, x) for c in scalings(t, config))
    return c_skip * x + c_out * output


def distance(a: Tensor, b: Tensor, config: ConsistencyConfig) -> Tensor:
    """d of the loss, the mean over all elements of two tensors of one shape.

    Pseudo-Huber, √(δ² + c²) - c, is about |δ| beyond c: one bad guess does not rule the batch.
    """
    delta = a - b
    if config.loss == "l2":
        return delta.square().mean()
    return ((delta.square() + config.huber_c**2).sqrt() - config.huber_c).mean()


class Draw(NamedTuple):
    """The random numbers of one step."""

    t: Tensor
    """(N,) boundary times."""
    noise: Tensor
    """(N, ...)"""
    omega: Tensor | None
    """(N,) guidance scales."""


def draw(x: Tensor, config: ConsistencyConfig, rng: torch.Generator) -> Draw:
    """Draw times, noise and guidance scales for clean x (N, ...), from a CPU generator."""
    t = config.times[torch.randint(len(config.times), (len(x),), generator=rng)]
    noise = torch.randn(x.shape, generator=rng)
    omega = None
    if config.omega is not None:
        low, high = config.omega
        omega = (low + (high - low) * torch.rand(len(x), generator=rng)).to(x.device)
    return Draw(t.to(x.device), noise.to(x), omega)


class Outcome(NamedTuple):
    """One batch's loss, and the points that it compared."""

    loss: Tensor
    noisy: Tensor
    """(N, ...) x_t"""
    stepped: Tensor
    """(N, ...) x̂_s, where the teacher's one step led"""
    prediction: Tensor
    """(N, ...) f(x_t, t) by the student"""
    target: Tensor
    """(N, ...) f(x̂_s, s) by the target network"""


class ConsistencyDistillation(nn.Module):
    """Three networks: frozen teacher, student, and target, which is an average of earlier students.

    Args:
        teacher: predicts the noise; the caller's own module, which is frozen.
        student: starts, in the paper, as a copy of the teacher.
        config: noise, parametrisation and objective.
    """

    def __init__(
        self, teacher: nn.Module, student: nn.Module, config: ConsistencyConfig | None = None
    ):
        super().__init__()
        self.config = config or ConsistencyConfig()
        self.teacher = teacher.requires_grad_(False)
        self.student = student
        self.target = copy.deepcopy(student).requires_grad_(False)

    def train(self, mode: bool = True) -> "ConsistencyDistillation":
        """Teacher and target stay in eval mode: their answers shall not depend on chance."""
        super().train(mode)
        self.teacher.eval()
        self.target.eval()
        return self

    @torch.no_grad()
    def teacher_step(
        self,
        x: Tensor,
        t: Tensor,
        condition: Any = None,
        unconditional: Any = None,
        omega: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One DDIM step of k times from x (N, ...) at t (N,), guided if ω (N,) is given.

        Returns:
            x̂_s (N, ...) and its times s (N,): t - k, but never below 0.
        """
        s = (t - self.config.skip).clamp(min=0)
        epsilon = self.teacher(x, t, condition)
        if omega is not None:
            epsilon = guided(epsilon, self.teacher(x, t, unconditional), omega)
        return self.config.schedule.ddim_step(x, epsilon, t, s), s

    def forward(
        self, x: Tensor, draw: Draw, condition: Any = None, unconditional: Any = None
    ) -> Outcome:
        """Both answers and their distance (section 4.1).

        Args:
            x: (N, ...) clean data.
            draw: see :func:`draw`.
            condition: what the networks are told about x.
            unconditional: the condition that says nothing, for guidance.
        """
        t, noise, omega = draw
        noisy = self.config.schedule.add_noise(x, noise, t)
        stepped, s = self.teacher_step(noisy, t, condition, unconditional, omega)
        prediction = denoise(self.student(noisy, t, condition, omega), noisy, t, self.config)
        with torch.no_grad():
            target = denoise(self.target(stepped, s, condition, omega), stepped, s, self.config)
        loss = distance(prediction.float(), target.float(), self.config)
        return Outcome(loss, noisy, stepped, prediction, target)

    def update_target(self) -> None:
        """Move the target towards the student."""
        ema_update(self.target, self.student, self.config.ema)


def train_step(
    model: ConsistencyDistillation,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    draw: Draw,
    condition: Any = None,
    unconditional: Any = None,
    *,
    grad_clip: float | None = 1.0,
) -> Outcome:
    """One step: loss, gradients of the student, its update, the target's update.

    Args:
        model: changed in place.
        optimizer: holds the student's parameters.
        x, draw, condition, unconditional: see :meth:`ConsistencyDistillation.forward`.
        grad_clip: largest norm of all gradients together.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    outcome = model(x, draw, condition, unconditional)
    if not math.isfinite(outcome.loss.item()):
        raise FloatingPointError(
            f"The loss is {outcome.loss.item()}; try a lower learning rate or check the teacher."
        )
    optimizer.zero_grad()
    outcome.loss.backward()
    if grad_clip is not None:
        nn.utils.clip_grad_norm_(model.student.parameters(), grad_clip)
    optimizer.step()
    model.update_target()
    return outcome


def sampling_times(steps: int, config: ConsistencyConfig) -> list[int]:
    """The boundary times at which a sampler of so many steps calls the network, falling from T - 1.

    Raises ValueError when there are not as many boundary times, or no steps.
    """
    n = len(config.times)
    if not 1 <= steps <= n:
        raise ValueError(f"With skip {config.skip} there are {n} times to sample at, not {steps}.")
    return [config.times[n - 1 - i * n // steps].item() for i in range(steps)]


@torch.no_grad()
def sample(
    network: Network,
    x: Tensor,
    steps: int,
    config: ConsistencyConfig,
    rng: torch.Generator,
    condition: Any = None,
    omega: Tensor | None = None,
) -> Tensor:
    """Multistep consistency sampling: jump to the end, add new noise, jump again.

    Args:
        network: the student or the target.
        x: (N, ...) standard normal noise.
        steps: network evaluations; the times are diffusers' LCMScheduler's.
        config: of the distillation.
        rng: source, on the CPU, of the noise added between steps.
        condition, omega: for the network.

    Returns:
        (N, ...) samples.
    """
    times = sampling_times(steps, config)
    for i, t in enumerate(times):
        if i > 0:
            x = config.schedule.add_noise(x, torch.randn(x.shape, generator=rng).to(x), t)
        output = network(x, torch.full((len(x),), t, device=x.device), condition, omega)
        x = denoise(output, x, t, config)
    return x


@torch.no_grad()
def ddim(
    teacher: Network, x: Tensor, steps: int, config: ConsistencyConfig, condition: Any = None
) -> Tensor:
    """DDIM from noise x (N, ...) at the times of :func:`sample`, the last step to clean data.

    Returns:
        (steps + 1, N, ...): the trajectory, from x to the samples.
    """
    times = [*sampling_times(steps, config), CLEAN]
    path = [x]
    for t, s in zip(times, times[1:], strict=False):
        epsilon = teacher(x, torch.full((len(x),), t, device=x.device), condition)
        path.append(x := config.schedule.ddim_step(x, epsilon, t, s))
    return torch.stack(path)
