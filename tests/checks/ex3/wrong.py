"""Wrong answers to exercise 3, up to the patches: each is one mistake, with rows and words.

Those on similarity and drawing are in ``wrong_maps.py``.
"""

import numpy as np
import torch
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersModel,
)

from modarch_utils import zoo

# load(folder)


def load(folder, kind=AutoModel):
    return AutoImageProcessor.from_pretrained(folder), kind.from_pretrained(folder)


def the_plain_class(folder):
    return load(folder, Dinov2Model)


def the_class_with_registers(folder):
    return load(folder, Dinov2WithRegistersModel)


def a_classifier(folder):
    return load(folder, AutoModelForImageClassification)


def configuration_only(folder):
    processor, _ = load(folder)
    return processor, AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()


def fixed_folder(folder):
    return load(zoo.folder("mini-dinov2"))


def settings_by_hand(folder):
    processor, _ = load(folder)
    return processor, Dinov2Model(Dinov2Config(hidden_size=12, num_attention_heads=2)).eval()


def left_in_training(folder):
    processor, model = load(folder)
    return processor, model.train()


def half_precision(folder):
    processor, model = load(folder)
    return processor, model.half()


def default_processor(folder):
    return BitImageProcessor(), load(folder)[1]


def imagenets_processor(folder):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return BitImageProcessor(image_mean=mean, image_std=std), load(folder)[1]


def the_other_order(folder):
    return load(folder)[::-1]


def the_model_alone(folder):
    return load(folder)[1]


def a_function_for_a_processor(folder):
    return (lambda picture: picture / 255), load(folder)[1]


def a_name_of_the_hub(folder):
    """What transformers says without a network."""
    raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.")


def forgot_to_return(folder):
    load(folder)


def empty_load(folder):
    raise NotImplementedError()


LOAD = [
    (the_plain_class, "architecture", "AutoModel takes the class"),
    (the_class_with_registers, "architecture", "AutoModel takes the class"),
    (a_classifier, "architecture|ready", "A head sits on the network"),
    (configuration_only, "weights", "random weights"),
    (fixed_folder, "architecture|processor", "The folder is ignored"),
    (settings_by_hand, "architecture", "The folder is ignored"),
    (left_in_training, "ready", "model.eval() before"),
    (half_precision, "weights", "Half precision is for GPUs"),
    (default_processor, "processor", "CLIP's mean"),
    (imagenets_processor, "processor", "It is not the folder's"),
    (the_other_order, "runs", "The order is processor, model"),
    (the_model_alone, "runs", "return processor, model"),
    (a_function_for_a_processor, "runs", "what AutoImageProcessor loads"),
    (a_name_of_the_hub, "runs", "A name of the hub is fixed"),
    (forgot_to_return, "runs", "Return two things"),
    (empty_load, "runs", "Replace `raise"),
]

# to_input(picture, processor)


def planes(picture):
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].double()


def of(processor):
    values = processor.image_mean, processor.image_std
    return (torch.tensor(v).view(3, 1, 1).double() for v in values)


def without_mean_and_std(picture, processor):
    return planes(picture).float() / 255


def as_it_is(picture, processor):
    return planes(picture).float()


def without_255(picture, processor):
    mean, std = of(processor)
    return ((planes(picture) - mean) / std).float()


def divided_twice(picture, processor):
    options = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    return processor(picture / 255, **options).pixel_values


def mean_only(picture, processor):
    mean, _ = of(processor)
    return (planes(picture) / 255 - mean).float()


def std_only(picture, processor):
    _, std = of(processor)
    return (planes(picture) / 255 / std).float()


def times_std(picture, processor):
    mean, std = of(processor)
    return ((planes(picture) / 255 - mean) * std).float()


def variance(picture, processor):
    mean, std = of(processor)
    return ((planes(picture) / 255 - mean) / std**2).float()


def std_first(picture, processor):
    mean, std = of(processor)
    return (planes(picture) / 255 / std - mean).float()


def std_and_mean(picture, processor):
    std, mean = of(processor)
    return ((planes(picture) / 255 - mean) / std).float()


def imagenets(picture, processor):
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    return (planes(picture).float() / 255 - mean) / std


def from_minus_1_to_1(picture, processor):
    return planes(picture).float() / 127.5 - 1


def its_own_statistics(picture, processor):
    x = planes(picture).float() / 255
    return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)


def blue_first(picture, processor):
    mean, std = of(processor)
    return ((planes(picture).flip(1) / 255 - mean) / std).float()


def reshaped(picture, processor):
    mean, std = of(processor)
    x = torch.tensor(picture).reshape(3, *picture.shape[:2]).double()
    return ((x / 255 - mean) / std).float()[None]


def resized(picture, processor):
    return processor(picture, return_tensors="pt").pixel_values


def cropped(picture, processor):
    return processor(picture, do_resize=False, return_tensors="pt").pixel_values


def without_a_batch(picture, processor):
    mean, std = of(processor)
    return ((planes(picture)[0] / 255 - mean) / std).float()


def channels_last(picture, processor):
    x = (picture / 255 - np.array(processor.image_mean)) / np.array(processor.image_std)
    return torch.from_numpy(x).float()[None]


def turned(picture, processor):
    mean, std = of(processor)
    return ((torch.tensor(picture).permute(2, 1, 0) / 255 - mean) / std).float()[None]


def float64_from_numpy(picture, processor):
    x = (picture / 255 - np.array(processor.image_mean)) / np.array(processor.image_std)
    return torch.from_numpy(x).permute(2, 0, 1)[None]


def an_array(picture, processor):
    return planes(picture).numpy()


def mean_along_the_width(picture, processor):
    x = planes(picture) / 255
    return (x - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)


def writes_into_the_picture(picture, processor):
    x = by_hand(picture, processor)
    picture //= 2
    return x


def by_hand(picture, processor):
    mean, std = of(processor)
    return ((planes(picture) / 255 - mean) / std).float()


def empty_input(picture, processor):
    raise NotImplementedError()


INPUT = [
    (without_mean_and_std, "numbers", "Mean and deviation are missing"),
    (as_it_is, "numbers", "Nothing is normalised"),
    (without_255, "numbers", "Divide by 255 first"),
    (divided_twice, "numbers", "Divided by 255 twice"),
    (mean_only, "numbers", "The deviation is missing"),
    (std_only, "numbers", "The mean is missing"),
    (times_std, "numbers", "Divide by the deviation"),
    (variance, "numbers", "The deviation is squared"),
    (std_first, "numbers", "the mean comes off last"),
    (std_and_mean, "numbers", "The two are swapped"),
    (imagenets, "numbers", "ImageNet's mean and deviation"),
    (from_minus_1_to_1, "numbers", "the small networks' mean and deviation"),
    (its_own_statistics, "numbers", "not the picture's"),
    (blue_first, "channels", "BGR"),
    (reshaped, "layout", "`reshape` does not swap axes"),
    (resized, "runs", "resized or cropped the picture"),
    (cropped, "runs", "resized or cropped the picture"),
    (without_a_batch, "runs", "The axis N is missing"),
    (channels_last, "runs", "Channels are still last"),
    (turned, "runs", "Height and width are swapped"),
    (float64_from_numpy, "float32", "NumPy computes in float64"),
    (an_array, "runs", "torch.from_numpy makes one"),
    (mean_along_the_width, "runs", "lie along another axis"),
    (writes_into_the_picture, "picture", "copy first"),
    (empty_input, "runs", "Replace `raise"),
]

# patch_grid(model, pixel_values)


def tokens(model, pixels):
    with torch.no_grad():
        return model.eval()(pixels).last_hidden_state


def first(model):
    return 1 + getattr(model.config, "num_register_tokens", 0)


def sides(model, pixels):
    return tuple(side // model.config.patch_size for side in pixels.shape[2:])


def patches(model, pixels):
    return tokens(model, pixels)[:, first(model) :]


def patch_grid(model, pixels):
    return patches(model, pixels).unflatten(1, sides(model, pixels))


def registers_are_patches(model, pixels):
    return tokens(model, pixels)[:, 1:].unflatten(1, sides(model, pixels))


def like_the_lesson(model, pixels):
    """The published solution, written for a network without registers and square pictures."""
    embeddings = tokens(model, pixels)[:, 1:]
    side = int(embeddings.shape[1] ** 0.5)
    return embeddings.reshape(len(embeddings), side, side, -1)


def registers_at_the_end(model, pixels):
    registers = first(model) - 1
    found = tokens(model, pixels)[:, 1:]
    found = found[:, : found.shape[1] - registers]
    return found.unflatten(1, sides(model, pixels))


def class_token_kept(model, pixels):
    rows, columns = sides(model, pixels)
    return tokens(model, pixels)[:, : rows * columns].unflatten(1, (rows, columns))


def nothing_dropped(model, pixels):
    return tokens(model, pixels).unflatten(1, sides(model, pixels))


def off_by_one(model, pixels):
    rows, columns = sides(model, pixels)
    start = max(first(model) - 1, 1)
    found = tokens(model, pixels)[:, start : start + rows * columns]
    return found.unflatten(1, (rows, columns))


def always_four_registers(model, pixels):
    return tokens(model, pixels)[:, 5:].unflatten(1, sides(model, pixels))


def registers_must_be_there(model, pixels):
    start = 1 + model.config.num_register_tokens
    return tokens(model, pixels)[:, start:].unflatten(1, sides(model, pixels))


def square_root(model, pixels):
    found = patches(model, pixels)
    side = int(found.shape[1] ** 0.5)
    return found.reshape(len(found), side, side, found.shape[2])


def sixteen_by_sixteen(model, pixels):
    found = patches(model, pixels)
    return found.reshape(found.shape[0], 16, 16, found.shape[-1])


def patches_of_14(model, pixels):
    height, width = pixels.shape[2:]
    return patches(model, pixels).unflatten(1, (height // 14, width // 14))


def width_first(model, pixels):
    return patches(model, pixels).unflatten(1, sides(model, pixels)[::-1])


def down_the_columns(model, pixels):
    return width_first(model, pixels).transpose(1, 2)


def rounded_up(model, pixels):
    grid = [-(-side // model.config.patch_size) for side in pixels.shape[2:]]
    return patches(model, pixels).unflatten(1, grid)


def channels_in_front(model, pixels):
    return patch_grid(model, pixels).permute(0, 3, 1, 2)


def reshaped_to_channels(model, pixels):
    found = patches(model, pixels)
    grid = sides(model, pixels)
    return found.reshape(len(found), -1, *grid).permute(0, 2, 3, 1)


def in_one_row(model, pixels):
    return patches(model, pixels)


def pooled(model, pixels):
    with torch.no_grad():
        return model.eval()(pixels).pooler_output


def before_the_last_norm(model, pixels):
    with torch.no_grad():
        hidden = model.eval()(pixels, output_hidden_states=True).hidden_states[-1]
    return hidden[:, first(model) :].unflatten(1, sides(model, pixels))


def the_embeddings(model, pixels):
    """The name misleads: this is where patches become vectors, before any block."""
    with torch.no_grad():
        found = model.embeddings.patch_embeddings(pixels)
    return found.unflatten(1, sides(model, pixels))


def a_middle_layer(model, pixels):
    with torch.no_grad():
        hidden = model.eval()(pixels, output_hidden_states=True).hidden_states[1]
    return hidden[:, first(model) :].unflatten(1, sides(model, pixels))


def unit_vectors(model, pixels):
    return F.normalize(patch_grid(model, pixels), dim=-1)


def class_token_added(model, pixels):
    found = tokens(model, pixels)
    both = found[:, first(model) :] + found[:, :1]
    return both.unflatten(1, sides(model, pixels))


def one_picture_only(model, pixels):
    return patch_grid(model, pixels)[0]


def squeezed(model, pixels):
    return patch_grid(model, pixels).squeeze()


def dropout_left_on(model, pixels):
    with torch.no_grad():
        found = model(pixels).last_hidden_state
    return found[:, first(model) :].unflatten(1, sides(model, pixels))


def with_a_graph(model, pixels):
    found = model.eval()(pixels).last_hidden_state
    return found[:, first(model) :].unflatten(1, sides(model, pixels))


def through_numpy(model, pixels):
    model.eval()
    found = model(pixels).last_hidden_state[:, first(model) :].numpy()
    return torch.from_numpy(found.reshape(len(pixels), *sides(model, pixels), -1))


def single_precision(model, pixels):
    return patch_grid(model, pixels).float()


def the_output_object(model, pixels):
    return model.eval()(pixels)


def empty_grid(model, pixels):
    raise NotImplementedError()


GRID = [
    (registers_are_patches, "registers", "Registers count as patches: they come after"),
    (like_the_lesson, "registers|not square", "taken for a square"),
    (registers_at_the_end, "registers", "registers come right after the class token"),
    (class_token_kept, "without registers|registers", "The class token, the first of all"),
    (nothing_dropped, "runs", "Nothing is dropped"),
    (off_by_one, "registers", "Off by one: the class token is a token too"),
    (always_four_registers, "without registers|registers", "a number of registers fixed"),
    (registers_must_be_there, "without registers", "getattr(config, name, 0)"),
    (square_root, "not square", "taken for a square"),
    (sixteen_by_sixteen, "not square", "16 × 16 is fixed"),
    (patches_of_14, "patch size", "A patch size of 14 is fixed"),
    (width_first, "not square", "Rows and columns are swapped"),
    (down_the_columns, "places", "column by column"),
    (rounded_up, "rest", "rounded up"),
    (channels_in_front, "runs", "Channels come last"),
    (reshaped_to_channels, "places", "mixed patches and channels"),
    (in_one_row, "runs", "stand in one row"),
    (pooled, "runs", "pooler_output"),
    (before_the_last_norm, "last layer", "before the final LayerNorm"),
    (the_embeddings, "last layer", "the patch projection"),
    (a_middle_layer, "last layer", "hidden_states end before"),
    (unit_vectors, "last layer", "normalised already"),
    (class_token_added, "last layer", "nothing added"),
    (one_picture_only, "runs", "[0] or squeeze()"),
    (squeezed, "one picture", "[0] or squeeze()"),
    (dropout_left_on, "inference", "call model.eval() first"),
    (with_a_graph, "no graph", "torch.no_grad()"),
    (through_numpy, "runs", "There is a graph behind it"),
    (single_precision, "float64", "Convert nothing"),
    (the_output_object, "runs", "Return one tensor"),
    (empty_grid, "runs", "Replace `raise"),
]
HELPERS = {load, planes, of, by_hand, tokens, first, sides, patches, patch_grid}
