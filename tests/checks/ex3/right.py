"""Right answers to exercise 3, each written otherwise than the solution."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import Normalize
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    BitImageProcessor,
    Dinov2Model,
    Dinov2WithRegistersModel,
)

# load(folder)


def auto(folder):
    return AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)


def by_architecture(folder):
    config = AutoConfig.from_pretrained(folder)
    registers = config.model_type == "dinov2_with_registers"
    kind = Dinov2WithRegistersModel if registers else Dinov2Model
    return [BitImageProcessor.from_pretrained(folder), kind.from_pretrained(folder).eval()]


def without_gradients(folder):
    model = AutoModel.from_pretrained(str(folder), attn_implementation="eager")
    return AutoImageProcessor.from_pretrained(str(folder)), model.requires_grad_(False).train(False)


LOAD = [auto, by_architecture, without_gradients]

# to_input(picture, processor)


def by_the_processor(picture, processor):
    inputs = processor(picture, do_resize=False, do_center_crop=False, return_tensors="pt")
    return inputs["pixel_values"]


def in_numpy(picture, processor):
    x = (picture / 255.0 - np.array(processor.image_mean)) / np.array(processor.image_std)
    return torch.tensor(np.transpose(x, (2, 0, 1))[np.newaxis], dtype=torch.float32)


def channel_by_channel(picture, processor):
    planes = []
    for c in range(3):
        plane = torch.tensor(picture[:, :, c].astype("float32")) * processor.rescale_factor
        planes.append((plane - processor.image_mean[c]) / processor.image_std[c])
    return torch.stack(planes)[None]


def one_affine_map(picture, processor):
    mean, std = np.float32(processor.image_mean), np.float32(processor.image_std)
    x = picture.astype(np.float32) * (1 / (255 * std)) - mean / std
    return torch.from_numpy(x).movedim(-1, 0)[None].contiguous()


INPUT = [by_the_processor, in_numpy, channel_by_channel, one_affine_map]

# patch_grid(model, pixel_values)


def from_the_end(model, pixel_values):
    """Patches are the last rows · columns tokens, whatever stands before them."""
    n, _, height, width = pixel_values.shape
    p = model.config.patch_size
    h, w = height // p, width // p
    with torch.inference_mode():
        out = model.eval()(pixel_values)[0]
    return out[:, -h * w :, :].view(n, h, w, out.shape[-1]).clone()


def counts_what_is_too_many(model, pixel_values):
    side = model.embeddings.patch_embeddings.projection.stride[0]
    grid = tuple(size // side for size in pixel_values.shape[-2:])
    was = model.training
    model.train(False)
    tokens = model(pixel_values, return_dict=True).last_hidden_state.detach()
    model.train(was)
    extra = tokens.size(1) - grid[0] * grid[1]
    return tokens[:, extra:].unflatten(1, grid)


def by_its_class(model, pixel_values):
    registers = 0
    if isinstance(model, Dinov2WithRegistersModel):
        registers = model.config.num_register_tokens
    model = model.eval()
    with torch.no_grad():
        tokens = model(pixel_values).last_hidden_state
        _cls, _registers, patches = tokens.split(
            [1, registers, tokens.shape[1] - 1 - registers], dim=1
        )
    rows = pixel_values.shape[-2] // model.config.patch_size
    return torch.stack(patches.chunk(rows, dim=1), dim=1)


def last_norm_by_hand(model, pixel_values):
    model.eval()
    with torch.no_grad():
        hidden = model(pixel_values, output_hidden_states=True).hidden_states[-1]
        tokens = model.layernorm(hidden)
    kernel = model.config.patch_size
    rows, columns = (s // kernel for s in pixel_values.shape[2:])
    maps = tokens[:, tokens.shape[1] - rows * columns :].mT.reshape(len(tokens), -1, rows, columns)
    return maps.permute(0, 2, 3, 1)


def picture_by_picture(model, pixel_values):
    model.eval()
    found = []
    for picture in pixel_values.split(1):
        rows, columns = (n // model.config.patch_size for n in picture.shape[2:])
        with torch.no_grad():
            (tokens,) = model(picture).last_hidden_state
        patches = tokens[1 + model.config.to_dict().get("num_register_tokens", 0) :]
        found.append(torch.stack([patches[r * columns : (r + 1) * columns] for r in range(rows)]))
    return torch.stack(found)


GRID = [
    from_the_end,
    counts_what_is_too_many,
    by_its_class,
    last_norm_by_hand,
    picture_by_picture,
]

# cosine_similarity(features)


def normalised(features):
    unit = F.normalize(features.flatten(0, 1), dim=-1)
    return unit @ unit.T


def over_both_lengths(features):
    x = features.reshape(-1, features.shape[2])
    lengths = x.norm(dim=1)
    return (x @ x.T) / torch.outer(lengths, lengths)


def by_torch(features):
    x = features.flatten(0, 1)
    return F.cosine_similarity(x[:, None], x[None], dim=-1)


def by_the_layer(features):
    x = features.flatten(end_dim=1)
    cosine = nn.CosineSimilarity(dim=1)
    return torch.stack([cosine(x, one[None]) for one in x])


def by_einsum(features):
    unit = features / (features**2).sum(-1, keepdim=True).sqrt()
    rows, columns, _ = features.shape
    return torch.einsum("abd,efd->abef", unit, unit).reshape(rows * columns, rows * columns)


def by_sklearn(features):
    return torch.from_numpy(cosine_similarity(features.flatten(0, 1).numpy()))


def by_distance(features):
    """Of unit vectors, the squared distance is 2 - 2 cos."""
    unit = F.normalize(features.flatten(0, 1).double(), dim=1)
    return (1 - torch.cdist(unit, unit).square() / 2).to(features.dtype)


MATRIX = [
    normalised,
    over_both_lengths,
    by_torch,
    by_the_layer,
    by_einsum,
    by_sklearn,
    by_distance,
]

# patch_map(similarity, grid, place)


def four_axes(similarity, grid, place):
    row, column = place
    return similarity.view(*grid, *grid)[row, column]


def a_column(similarity, grid, place):
    """The matrix is symmetric."""
    index = np.ravel_multi_index(place, grid)
    return similarity[:, index].unflatten(0, grid)


def numbered(similarity, grid, place):
    numbers = torch.arange(len(similarity)).view(grid)
    return similarity[numbers[place]][numbers]


MAP = [four_axes, a_column, numbered]

# draw_map(axis, picture, values)


def half_pixels(axis, picture, values):
    axis.imshow(picture)
    height, width, _ = picture.shape
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(values.numpy(), extent=edges, alpha=0.5, norm=Normalize(-1, 1))
    axis.axis("off")


def in_units_of_patches(axis, picture, values):
    rows, columns = values.shape
    axis.imshow(picture, extent=(0, columns, rows, 0), aspect="auto")
    axis.imshow(
        values, extent=(0, columns, rows, 0), aspect="auto", alpha=0.7, clim=(-1, 1), cmap="magma"
    )


def enlarged(axis, picture, values):
    side = picture.shape[0] // values.shape[0]
    large = np.kron(values.numpy(), np.ones((side, side)))
    axis.imshow(picture)
    return axis.imshow(large, alpha=0.6, vmin=-1, vmax=1)


def smooth(axis, picture, values):
    large = F.interpolate(values[None, None], picture.shape[:2], mode="bilinear")[0, 0]
    axis.imshow(picture)
    axis.imshow(large, alpha=0.6, vmin=-1, vmax=1, cmap="coolwarm")


def blended(axis, picture, values):
    colours = colormaps["viridis"]((values.numpy() + 1) / 2)[..., :3]
    side = picture.shape[0] // values.shape[0]
    colours = colours.repeat(side, 0).repeat(side, 1)
    axis.imshow(0.5 * picture / 255 + 0.5 * colours)


def coloured_squares(axis, picture, values):
    axis.imshow(picture)
    ys, xs = (
        np.linspace(-0.5, n - 0.5, m + 1)
        for n, m in zip(picture.shape[:2], values.shape, strict=True)
    )
    axis.pcolormesh(xs, ys, values, alpha=0.5, vmin=-1, vmax=1)


def the_current_axis(axis, picture, values):
    plt.sca(axis)
    plt.imshow(picture)
    plt.imshow(values, alpha=0.5, vmin=-1, vmax=1, extent=axis.images[0].get_extent())


DRAW = [
    half_pixels,
    in_units_of_patches,
    enlarged,
    smooth,
    blended,
    coloured_squares,
    the_current_axis,
]

# foreground(features)


def turned(mask):
    inner = torch.zeros_like(mask)
    inner[1:-1, 1:-1] = True
    return mask if mask[inner].float().mean() >= mask[~inner].float().mean() else ~mask


def by_eigenvectors(features):
    x = features.flatten(0, 1)
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    return turned((x @ vectors[:, values.argmax()]).view(features.shape[:2]) > 0)


def by_components(features):
    found = PCA(1).fit_transform(features.flatten(0, 1).numpy())[:, 0]
    return turned(torch.from_numpy(found).view(features.shape[:2]) > 0)


def by_u(features):
    x = features.reshape(-1, features.shape[-1])
    u, _, _ = torch.linalg.svd(x - x.mean(dim=0, keepdim=True))
    first = u[:, 0].reshape(features.shape[:2])
    edge = torch.cat((first[0], first[-1], first[:, 0], first[:, -1]))
    return first > 0 if edge.median() < 0 else first < 0


FOREGROUND = [by_eigenvectors, by_components, by_u]

# partners(a, b)


def unravelled(a, b):
    units = [F.normalize(x.flatten(0, 1), dim=1) for x in (a, b)]
    found = (units[0] @ units[1].T).max(dim=1).indices
    return torch.stack(torch.unravel_index(found, b.shape[:2]), dim=-1).unflatten(0, a.shape[:2])


def in_loops(a, b):
    found = torch.zeros(*a.shape[:2], 2, dtype=torch.int32)
    for row, patches in enumerate(a):
        for column, patch in enumerate(patches):
            alike = F.cosine_similarity(patch, b, dim=-1)
            found[row, column] = (alike == alike.max()).nonzero()[0]
    return found


ANSWERS = {
    "load": LOAD,
    "to_input": INPUT,
    "patch_grid": GRID,
    "cosine_similarity": MATRIX,
    "patch_map": MAP,
    "draw_map": DRAW,
    "foreground": FOREGROUND,
    "partners": [unravelled, in_loops],
}
