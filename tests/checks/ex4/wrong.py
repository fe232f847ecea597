"""Wrong answers to exercise 4, up to the drawing: each is one mistake, with rows and words.

Those on counting and timing are in ``wrong_measured.py``, on comparing in ``wrong_compare.py``.
"""

import copy

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)

from modarch_utils import zoo


def put_together(pipe, **parts):
    return StableDiffusionPipeline(**pipe.components | parts, requires_safety_checker=False)


def with_scheduler(pipe, kind, **settings):
    """A new pipeline of the same networks with a scheduler of this kind."""
    made = put_together(pipe)
    made.scheduler = kind.from_config(pipe.scheduler.config, **settings)
    return made


# ddim_pipeline(pipe)


def ddim(pipe, **settings):
    settings = {"timestep_spacing": "trailing", "clip_sample": False} | settings
    return with_scheduler(pipe, DDIMScheduler, **settings)


def scheduler_not_replaced(pipe):
    return put_together(pipe)


def pndm_called_ddim(pipe):
    return with_scheduler(pipe, PNDMScheduler)


def lcms_sampler(pipe):
    return with_scheduler(pipe, LCMScheduler)


def ddpm_called_ddim(pipe):
    return with_scheduler(pipe, DDPMScheduler, clip_sample=False, timestep_spacing="leading")


def euler(pipe):
    return with_scheduler(pipe, EulerDiscreteScheduler)


def dpm(pipe):
    return with_scheduler(pipe, DPMSolverMultistepScheduler)


def own_spacing(pipe):
    return with_scheduler(pipe, DDIMScheduler, clip_sample=False)


def leading_spacing(pipe):
    return ddim(pipe, timestep_spacing="leading")


def spacing_written_into_the_configuration(pipe):
    """diffusers leaves out what the configuration lists as a default, as it does here."""
    made = put_together(pipe)
    settings = dict(pipe.scheduler.config) | {"timestep_spacing": "trailing"}
    made.scheduler = DDIMScheduler.from_config(settings, clip_sample=False)
    return made


def linspace(pipe):
    return ddim(pipe, timestep_spacing="linspace")


def clips(pipe):
    return ddim(pipe, clip_sample=True)


def clips_as_it_was_saved(pipe):
    """StableDiffusionPipeline's constructor would mend it; a copy is made without it."""
    made = copy.deepcopy(pipe)
    made.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    return made


def librarys_schedule(pipe):
    made = put_together(pipe)
    made.scheduler = DDIMScheduler(
        timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    return made


def stable_diffusions_schedule(pipe):
    made = put_together(pipe)
    made.scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        set_alpha_to_one=False,
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )
    return made


def ddim_in_place(pipe):
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", clip_sample=False
    )
    return pipe


def ddim_in_place_without_return(pipe):
    ddim_in_place(pipe)


def the_scheduler_alone(pipe):
    return ddim(pipe).scheduler


def a_part_is_missing(pipe):
    return StableDiffusionPipeline(unet=pipe.unet, vae=pipe.vae, scheduler=ddim(pipe).scheduler)


def another_unet(pipe):
    made = ddim(pipe)
    torch.manual_seed(7)
    made.unet = type(pipe.unet).from_config(pipe.unet.config)
    return made


def empty_ddim(pipe):
    raise NotImplementedError()


DDIM = [
    (scheduler_not_replaced, "DDIM", "still the pipeline's own, PNDM"),
    (pndm_called_ddim, "DDIM", "once more than it makes steps"),
    (lcms_sampler, "DDIM", "LCM's sampler, which adds noise"),
    (ddpm_called_ddim, "DDIM", "DDPM, which adds noise at every step"),
    (euler, "DDIM", "another time axis"),
    (dpm, "DDIM", "solver of second order"),
    (own_spacing, "spacing", "with one step at t = 1"),
    (leading_spacing, "spacing", "with one step at t = 1"),
    (spacing_written_into_the_configuration, "spacing", "it may be ignored"),
    (linspace, "spacing", "ends at 0"),
    (clips, "clipping", "default is clip_sample=True"),
    (clips_as_it_was_saved, "clipping", "comes from the pipeline's own configuration"),
    (librarys_schedule, "noise schedule", "Hand the settings on"),
    (stable_diffusions_schedule, "noise schedule", "written down in the code"),
    (ddim_in_place, "caller", "changed in place"),
    (ddim_in_place_without_return, "runs", "no `return`"),
    (the_scheduler_alone, "runs", "Return a pipeline"),
    (a_part_is_missing, "runs", "needs all its parts"),
    (another_unet, "DDIM", "Are its networks the ones"),
    (empty_ddim, "runs", "Replace `raise NotImplementedError()`"),
]

# lcm_pipeline(pipe, folder)


def own_unet(pipe):
    return put_together(pipe, unet=copy.deepcopy(pipe.unet))


def lcm(pipe, folder, made=None, **settings):
    made = made or own_unet(pipe)
    made.load_lora_weights(folder)
    settings = {"clip_sample": False} | settings
    made.scheduler = LCMScheduler.from_config(pipe.scheduler.config, **settings)
    return made


def scheduler_forgotten(pipe, folder):
    made = own_unet(pipe)
    made.load_lora_weights(folder)
    return made


def ddim_for_the_lora(pipe, folder):
    made = scheduler_forgotten(pipe, folder)
    made.scheduler = ddim(pipe).scheduler
    return made


def leading_ddim_for_the_lora(pipe, folder):
    made = scheduler_forgotten(pipe, folder)
    made.scheduler = leading_spacing(pipe).scheduler
    return made


def lora_forgotten(pipe, folder):
    made = own_unet(pipe)
    made.scheduler = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return made


def lora_unloaded_too_early(pipe, folder):
    made = lcm(pipe, folder)
    made.unload_lora_weights()
    return made


def lora_disabled(pipe, folder):
    made = lcm(pipe, folder)
    made.disable_lora()
    return made


def lora_loaded_twice(pipe, folder):
    made = lcm(pipe, folder)
    made.load_lora_weights(folder, adapter_name="again")
    made.set_adapters(["default_0", "again"])
    return made


def half_the_lora(pipe, folder):
    made = lcm(pipe, folder)
    made.set_adapters(made.get_active_adapters(), 0.5)
    return made


def lcm_clips(pipe, folder):
    return lcm(pipe, folder, clip_sample=True)


def lcm_clips_as_it_was_saved(pipe, folder):
    made = copy.deepcopy(pipe)
    made.load_lora_weights(folder)
    made.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return made


def lcms_own_schedule(pipe, folder):
    made = own_unet(pipe)
    made.load_lora_weights(folder)
    made.scheduler = LCMScheduler(set_alpha_to_one=False, clip_sample=False)
    return made


def shared_unet(pipe, folder):
    return lcm(pipe, folder, put_together(pipe))


def shared_unet_fused(pipe, folder):
    made = lcm(pipe, folder, put_together(pipe))
    made.fuse_lora()
    return made


def lcm_in_place(pipe, folder):
    lcm(pipe, folder, pipe)
    return pipe


def scheduler_in_place(pipe, folder):
    made = lcm(pipe, folder)
    pipe.scheduler = made.scheduler
    return made


def lcm_in_place_without_return(pipe, folder):
    lcm(pipe, folder, pipe)


def fixed_name(pipe, folder):
    return lcm(pipe, zoo.folder("a-lora-of-mine"))


FIRST = []


def first_folder_kept(pipe, folder):
    """Remembers the LoRA's numbers of the first folder that it was given."""
    made = own_unet(pipe)
    made.load_lora_weights(folder)
    state = {name: p.detach().clone() for name, p in made.unet.named_parameters()}
    if not FIRST:
        FIRST.append({name: p for name, p in state.items() if "lora" in name})
    made.unet.load_state_dict(FIRST[0], strict=False)
    made.scheduler = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return made


def pipe_and_scheduler(pipe, folder):
    made = lcm(pipe, folder)
    return made, made.scheduler


def empty_lcm(pipe, folder):
    raise NotImplementedError()


LCM = [
    (scheduler_forgotten, "LCM", "LCMScheduler has to be set besides"),
    (ddim_for_the_lora, "LCM", "DDIM only takes a step"),
    (leading_ddim_for_the_lora, "LCM", "DDIM only takes a step"),
    (lora_forgotten, "LoRA", "The LoRA is not in the U-Net that draws"),
    (lora_unloaded_too_early, "LoRA", "unload nothing"),
    (lora_disabled, "LoRA", "The LoRA is not in the U-Net that draws"),
    (lora_loaded_twice, "LoRA", "added twice"),
    (half_the_lora, "LoRA", "strength at 1"),
    (lcm_clips, "clipping", "or is switched on"),
    (lcm_clips_as_it_was_saved, "clipping", "comes from the pipeline's own configuration"),
    (lcms_own_schedule, "noise schedule", "happens to be Stable Diffusion's"),
    (shared_unet, "caller", "share one U-Net"),
    (shared_unet_fused, "caller", "DDIM would be measured with it"),
    (lcm_in_place, "caller", "give the fast one a copy"),
    (scheduler_in_place, "caller", "has another scheduler"),
    (lcm_in_place_without_return, "runs", "return the pipeline"),
    (fixed_name, "runs", "A name is fixed in the code"),
    (first_folder_kept, "folder", "The LoRA is remembered"),
    (pipe_and_scheduler, "runs", "a tuple"),
    (empty_lcm, "runs", "Replace `raise NotImplementedError()`"),
]

# draw(pipe, prompts, steps, guidance, seed)


def noises(prompts, seed):
    return [torch.Generator().manual_seed(1000 * seed + i) for i in range(len(prompts))]


def draw(pipe, prompts, steps, guidance, seed, **options):
    options = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "generator": noises(prompts, seed),
        "output_type": "pt",
    } | options
    return pipe(prompts, **options).images


def without_a_seed(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, generator=None)


ONE = torch.Generator().manual_seed(0)


def one_generator_for_ever(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, generator=ONE)


def seed_fixed(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, 42)


def one_noise_for_all(pipe, prompts, steps, guidance, seed):
    same = [torch.Generator().manual_seed(seed) for _ in prompts]
    return draw(pipe, prompts, steps, guidance, seed, generator=same)


def only_the_first_latents(pipe, prompts, steps, guidance, seed):
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(len(prompts), 4, 8, 8, generator=rng)
    return draw(pipe, prompts, steps, guidance, seed, latents=start, generator=None)


def noise_of_the_sampler(pipe, prompts, steps, guidance, seed):
    more = len(type(pipe.scheduler).__name__)
    return draw(pipe, prompts, steps, guidance, seed + more)


def from_minus_one(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed) * 2 - 1


def moved_twice(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed) / 2 + 0.5


def to_255(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed) * 255


def whole_numbers(pipe, prompts, steps, guidance, seed):
    return (draw(pipe, prompts, steps, guidance, seed) * 255).round().to(torch.uint8)


def pil_pictures(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, output_type="pil")


def arrays(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, output_type="np")


def channels_last(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed).permute(0, 2, 3, 1)


def latents(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, output_type="latent")


def first_picture(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed)[0]


def first_prompt(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts[:1], steps, guidance, seed)


def one_prompt_for_all(pipe, prompts, steps, guidance, seed):
    return draw(pipe, [prompts[0]] * len(prompts), steps, guidance, seed)


def steps_forgotten(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, 4, guidance, seed)


def guidance_forgotten(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, 7.5, seed)


def omega_for_the_scale(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance - 1, seed)


def the_output_object(pipe, prompts, steps, guidance, seed):
    rngs = noises(prompts, seed)
    return pipe(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=rngs)


def too_few_generators(pipe, prompts, steps, guidance, seed):
    return draw(pipe, prompts, steps, guidance, seed, generator=noises(prompts[:1], seed))


def drawn_without_return(pipe, prompts, steps, guidance, seed):
    draw(pipe, prompts, steps, guidance, seed)


def empty_draw(pipe, prompts, steps, guidance, seed):
    raise NotImplementedError()


DRAW = [
    (without_a_seed, "repeat", "not tied to the seed"),
    (one_generator_for_ever, "repeat", "used up bit by bit"),
    (seed_fixed, "seeds", "The seed is fixed"),
    (one_noise_for_all, "noise", "Every generator has the same seed"),
    (only_the_first_latents, "repeat", "LCM adds noise between its steps"),
    (noise_of_the_sampler, "methods", "not on the pipeline"),
    (from_minus_one, "range", "numbers from -1 to 1"),
    (moved_twice, "range", "is in [0, 1] already"),
    (to_255, "range", "numbers from 0 to 255"),
    (whole_numbers, "runs", "not whole ones"),
    (pil_pictures, "runs", "a list of PIL pictures"),
    (arrays, "runs", "a NumPy array"),
    (channels_last, "runs", "Channels come second"),
    (latents, "runs", "These are latents"),
    (first_picture, "runs", "takes the first picture only"),
    (first_prompt, "runs", "One picture for each prompt"),
    (one_prompt_for_all, "prompts", "Hand the list of prompts on"),
    (steps_forgotten, "steps", "pass num_inference_steps"),
    (guidance_forgotten, "guidance", "7.5 is the pipeline's default"),
    (omega_for_the_scale, "guidance", "is the scale itself"),
    (the_output_object, "runs", "in the field `images`"),
    (too_few_generators, "runs", "as many generators as prompts"),
    (drawn_without_return, "runs", "no `return`"),
    (empty_draw, "runs", "Replace `raise NotImplementedError()`"),
]

HELPERS = {put_together, with_scheduler, ddim, own_unet, lcm, noises, draw}
