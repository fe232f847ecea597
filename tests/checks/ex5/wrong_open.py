"""Wrong answers to exercise 5, opening a network: each is one mistake, with rows and words."""

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch.nn import functional as F
from torchvision import transforms
from transformers import AutoConfig, AutoImageProcessor, AutoModel, BitImageProcessor

from tests.checks.ex5.right import by_num_classes, first_token

# open_timm(folder)


def network_of(folder, **kind):
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kind).eval()


def with_embed(folder, change):
    """The right preparation, and another way to features, without gradients."""
    return by_num_classes(folder)[0], torch.no_grad()(change)


def with_look(folder, **look):
    """The right features, and another transform."""
    config = resolve_model_data_config(network_of(folder)) | look
    return create_transform(**config, is_training=False), by_num_classes(folder)[1]


def changed(folder, change):
    """The right features, and something done to a rightly prepared picture."""
    prepare, embed = by_num_classes(folder)
    return lambda picture: change(prepare(picture)), embed


def logits(folder):
    return with_embed(folder, network_of(folder))


def probabilities(folder):
    network = network_of(folder)
    return with_embed(folder, lambda batch: network(batch).softmax(1))


def the_map(folder):
    return with_embed(folder, network_of(folder, num_classes=0).forward_features)


def largest_of_the_map(folder):
    network = network_of(folder, num_classes=0)
    return with_embed(folder, lambda batch: network.forward_features(batch).amax((2, 3)))


def mean_of_the_map(folder):
    network = network_of(folder, num_classes=0)
    return with_embed(folder, lambda batch: network.forward_features(batch).mean((2, 3)))


def unit_length(folder):
    network = network_of(folder, num_classes=0)
    return with_embed(folder, lambda batch: F.normalize(network(batch), dim=1))


def mean_over_the_batch(folder):
    network = network_of(folder, num_classes=0)
    return with_embed(folder, lambda batch: network(batch).mean(0, keepdim=True))


def normalised_twice(folder):
    network = network_of(folder, num_classes=0)
    return with_embed(folder, lambda batch: network((batch - 0.5) / 0.5))


def random_weights(folder):
    network = timm.create_model(f"local-dir:{folder}", num_classes=0).eval()
    return with_embed(folder, network)


def left_in_training(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    return with_embed(folder, network)


def with_a_graph(folder):
    return by_num_classes(folder)[0], network_of(folder, num_classes=0)


def half_precision(folder):
    network = network_of(folder, num_classes=0).half()
    return with_embed(folder, lambda batch: network(batch.half()))


def always_224(folder):
    return with_look(folder, input_size=(3, 224, 224))


def keeps_its_size(folder):
    config = network_of(folder).pretrained_cfg
    steps = transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])
    return transforms.Compose(steps), by_num_classes(folder)[1]


def one_preprocessing(folder):
    return with_look(folder, input_size=(3, 64, 64), crop_pct=1.0, interpolation="bicubic")


def imagenets_statistics(folder):
    return with_look(folder, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def statistics_of_a_half(folder):
    return with_look(folder, mean=(0.5,) * 3, std=(0.5,) * 3)


def no_statistics(folder):
    return with_look(folder, mean=(0.0,) * 3, std=(1.0,) * 3)


def deviation_forgotten(folder):
    return with_look(folder, std=(1.0,) * 3)


def zero_to_255(folder):
    config = resolve_model_data_config(network_of(folder)) | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    prepare = create_transform(**config, is_training=False)
    return lambda picture: 255 * prepare(picture), by_num_classes(folder)[1]


def blue_first(folder):
    prepare, embed = by_num_classes(folder)

    def turned(picture):
        return prepare(Image.fromarray(np.ascontiguousarray(np.array(picture)[..., ::-1])))

    return turned, embed


def its_own_statistics(folder):
    return changed(folder, lambda x: (x - x.mean((1, 2), True)) / x.std((1, 2), keepdim=True))


def squeezed(folder):
    config = network_of(folder).pretrained_cfg
    how = transforms.InterpolationMode(config["interpolation"])
    steps = [
        transforms.Resize(config["input_size"][1:], how),
        transforms.ToTensor(),
        transforms.Normalize(config["mean"], config["std"]),
    ]
    return transforms.Compose(steps), by_num_classes(folder)[1]


def crop_left_out(folder):
    return with_look(folder, crop_pct=1.0)


def nearest_pixels(folder):
    return with_look(folder, interpolation="nearest")


def augmented(folder):
    config = resolve_model_data_config(network_of(folder))
    return create_transform(**config, is_training=True), by_num_classes(folder)[1]


def a_batch_of_one(folder):
    return changed(folder, lambda x: x[None])


def channels_last(folder):
    return changed(folder, lambda x: x.permute(1, 2, 0))


def the_other_order(folder):
    return by_num_classes(folder)[1], by_num_classes(folder)[0]


def the_network_first(folder):
    network = network_of(folder, num_classes=0)
    return network, by_num_classes(folder)[0]


def the_network_alone(folder):
    return network_of(folder, num_classes=0)


def without_the_prefix(folder):
    return timm.create_model(str(folder), pretrained=True, num_classes=0)


def forgot_to_return(folder):
    by_num_classes(folder)


OPEN_TIMM = [
    (logits, "features", "scores of the classes"),
    (probabilities, "features", "probabilities of the classes"),
    (the_map, "features", "the map before pooling"),
    (mean_of_the_map, "features", "averaged by hand"),
    (largest_of_the_map, "features", "The largest value of each map"),
    (unit_length, "features", "divided by their lengths"),
    (normalised_twice, "features", "it is prepared already"),
    (mean_over_the_batch, "runs", "each has its own features"),
    (random_weights, "weights", "pretrained=True"),
    (half_precision, "weights", "computes in float32"),
    (left_in_training, "in use", "eval() first"),
    (with_a_graph, "no graph", "torch.no_grad()"),
    (always_224, "size", "224 is what many networks want"),
    (keeps_its_size, "size", "keeps its own size"),
    (one_preprocessing, "size", "The size is the folder's"),
    (imagenets_statistics, "pixels", "ImageNet's mean and deviation"),
    (statistics_of_a_half, "pixels", "are 0.5, and this folder has its own"),
    (no_statistics, "pixels", "They stay in 0..1"),
    (deviation_forgotten, "pixels", "nothing is divided by the deviation"),
    (zero_to_255, "pixels", "They are 0..255"),
    (blue_first, "pixels", "blue, green, red"),
    (its_own_statistics, "pixels", "Each picture gets its own"),
    (squeezed, "framing", "squeezed to a square"),
    (crop_left_out, "framing", "its crop is left out"),
    (nearest_pixels, "framing", "nearest is used"),
    (augmented, "steady", "random crops and flips of training"),
    (a_batch_of_one, "runs", "take [0]"),
    (channels_last, "runs", "Channels come first"),
    (the_other_order, "runs", ""),
    (the_network_first, "runs", "The order is prepare, embed"),
    (the_network_alone, "runs", "return prepare, embed"),
    (without_the_prefix, "runs", "local-dir:"),
    (forgot_to_return, "runs", "Return two functions"),
]

# open_dino(folder)


def states(folder):
    network = AutoModel.from_pretrained(folder)
    return torch.no_grad()(lambda batch: network(batch).last_hidden_state)


def with_tokens(folder, take):
    tokens = states(folder)
    return first_token(folder)[0], lambda batch: take(tokens(batch))


def with_processor(folder, processor, **options):
    def prepare(picture):
        return processor(picture, return_tensors="pt", **options)["pixel_values"][0]

    return prepare, first_token(folder)[1]


def mean_of_the_patches(folder):
    registers = getattr(AutoConfig.from_pretrained(folder), "num_register_tokens", 0)
    return with_tokens(folder, lambda tokens: tokens[:, 1 + registers :].mean(1))


def mean_of_all(folder):
    return with_tokens(folder, lambda tokens: tokens.mean(1))


def mean_of_all_but_the_first(folder):
    return with_tokens(folder, lambda tokens: tokens[:, 1:].mean(1))


def token_one(folder):
    return with_tokens(folder, lambda tokens: tokens[:, 1])


def the_last_token(folder):
    return with_tokens(folder, lambda tokens: tokens[:, -1])


def all_tokens(folder):
    return with_tokens(folder, lambda tokens: tokens)


def all_in_a_row(folder):
    return with_tokens(folder, lambda tokens: tokens.flatten(1))


def the_first_picture(folder):
    return with_tokens(folder, lambda tokens: tokens[0])


def as_a_classifier_has_it(folder):
    registers = getattr(AutoConfig.from_pretrained(folder), "num_register_tokens", 0)
    return with_tokens(folder, lambda t: torch.cat([t[:, 0], t[:, 1 + registers :].mean(1)], dim=1))


def before_the_norm(folder):
    network = AutoModel.from_pretrained(folder)

    @torch.no_grad()
    def embed(batch):
        return network(batch, output_hidden_states=True).hidden_states[-1][:, 0]

    return first_token(folder)[0], embed


def the_whole_output(folder):
    network = AutoModel.from_pretrained(folder)
    return first_token(folder)[0], torch.no_grad()(lambda batch: network(batch))


def dropout_on(folder):
    network = AutoModel.from_pretrained(folder).train()
    return first_token(folder)[0], torch.no_grad()(lambda b: network(b).last_hidden_state[:, 0])


def graph_kept(folder):
    network = AutoModel.from_pretrained(folder)
    return first_token(folder)[0], lambda batch: network(batch).last_hidden_state[:, 0]


def configuration_alone(folder):
    network = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    return first_token(folder)[0], torch.no_grad()(lambda b: network(b).last_hidden_state[:, 0])


def bare_processor(folder):
    return with_processor(folder, BitImageProcessor())


def bare_statistics(folder):
    own, bare = AutoImageProcessor.from_pretrained(folder), BitImageProcessor()
    return with_processor(folder, own, image_mean=bare.image_mean, image_std=bare.image_std)


def imagenet_for_dino(folder):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    own = AutoImageProcessor.from_pretrained(folder)
    return with_processor(folder, own, image_mean=mean, image_std=std)


def not_rescaled(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    return with_processor(folder, own, do_rescale=False)


def not_normalised(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    return with_processor(folder, own, do_normalize=False)


def rescaled_twice(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    return with_processor(folder, own, rescale_factor=1 / 255**2)


def not_resized(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    return with_processor(folder, own, do_resize=False, do_center_crop=False)


def no_square(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    edge = {"shortest_edge": own.crop_size["height"]}
    return with_processor(folder, own, size=edge, do_center_crop=False)


def by_the_shorter_side(folder):
    own = AutoImageProcessor.from_pretrained(folder)
    side = own.crop_size["height"] if own.do_center_crop else own.size["height"]
    cut = {"height": side, "width": side}
    return with_processor(
        folder, own, size={"shortest_edge": side}, do_center_crop=True, crop_size=cut
    )


def a_dictionary(folder):
    processor = AutoImageProcessor.from_pretrained(folder)
    return lambda p: processor(p, return_tensors="pt"), first_token(folder)[1]


def dino_batch_of_one(folder):
    processor = AutoImageProcessor.from_pretrained(folder)
    return (
        lambda picture: processor(picture, return_tensors="pt")["pixel_values"],
        first_token(folder)[1],
    )


def an_array(folder):
    prepare, embed = first_token(folder)
    return lambda picture: prepare(picture).numpy(), embed


OPEN_DINO = [
    (mean_of_the_patches, "features", "the mean over the patches"),
    (mean_of_all, "features", "the mean over all tokens:"),
    (mean_of_all_but_the_first, "features", "all tokens but the class token"),
    (token_one, "features", "This is token 1"),
    (the_last_token, "features", "the last patch"),
    (all_tokens, "features", "These are all tokens"),
    (all_in_a_row, "features", "in one row"),
    (as_a_classifier_has_it, "features", "one long vector"),
    (before_the_norm, "features", "before the last normalisation"),
    (the_first_picture, "runs", "each has its own features"),
    (the_whole_output, "runs", "take its last_hidden_state"),
    (dropout_on, "in use", "eval() first"),
    (graph_kept, "no graph", "torch.no_grad()"),
    (configuration_alone, "weights", "random weights"),
    (bare_processor, "size", "224 is what many networks want"),
    (bare_statistics, "pixels", "CLIP's mean and deviation"),
    (imagenet_for_dino, "pixels", "ImageNet's mean and deviation"),
    (not_rescaled, "pixels", "Mean and deviation are for 0..1"),
    (not_normalised, "pixels", "They stay in 0..1"),
    (rescaled_twice, "pixels", "divided by 255 twice"),
    (not_resized, "size", "keeps its own size"),
    (no_square, "size", "no square is cut out"),
    (by_the_shorter_side, "framing", "Its longer side is cut"),
    (a_dictionary, "runs", 'take ["pixel_values"]'),
    (dino_batch_of_one, "runs", "batch of one"),
    (an_array, "runs", "one tensor (3, S, S)"),
]
HELPERS = (network_of, with_embed, with_look, changed, states, with_tokens, with_processor)
