"""Wrong answers to exercise 3, from similarity on: each is one mistake, with rows and words."""

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

# cosine_similarity(features)


def unit(features):
    return F.normalize(features.flatten(0, 1), dim=1)


def cosine(features):
    return unit(features) @ unit(features).T


def dot_products(features):
    x = features.flatten(0, 1)
    return x @ x.T


def one_side(features):
    return unit(features) @ features.flatten(0, 1).T


def over_patches(features):
    x = F.normalize(features.flatten(0, 1), dim=0)
    return x @ x.T


def default_dim(features):
    x = F.normalize(features).flatten(0, 1)
    return x @ x.T


def over_rows(features):
    x = (features / features.norm(dim=0, keepdim=True)).flatten(0, 1)
    return x @ x.T


def one_length_for_all(features):
    x = features.flatten(0, 1)
    x = x / x.norm()
    return x @ x.T


def by_the_largest(features):
    x = dot_products(features)
    return x / x.max()


def attention_scale(features):
    return dot_products(features) / features.shape[-1] ** 0.5


def no_root(features):
    x = features.flatten(0, 1)
    x = x / (x**2).sum(1, keepdim=True)
    return x @ x.T


def manhattan(features):
    x = features.flatten(0, 1)
    x = x / x.abs().sum(1, keepdim=True)
    return x @ x.T


def no_keepdim(features):
    x = features.flatten(0, 1)
    x = x / x.norm(dim=1)
    return x @ x.T


def distances(features):
    x = features.flatten(0, 1)
    return torch.cdist(x, x)


def negative_distances(features):
    return -distances(features)


def inverse_distances(features):
    return 1 / (1 + distances(features))


def distances_of_units(features):
    return torch.cdist(unit(features), unit(features))


def cosine_distance(features):
    return 1 - cosine(features)


def shifted(features):
    return (cosine(features) + 1) / 2


def stretched(features):
    found = cosine(features)
    return (found - found.min()) / (found.max() - found.min())


def cut_off(features):
    return cosine(features).clamp(min=0)


def sign_lost(features):
    return cosine(features).abs()


def angles(features):
    return torch.acos(cosine(features).clamp(-1, 1))


def emptied_diagonal(features):
    return cosine(features).fill_diagonal_(0)


def correlation(features):
    return torch.corrcoef(features.flatten(0, 1))


def centred(features):
    x = features.flatten(0, 1)
    x = F.normalize(x - x.mean(0), dim=1)
    return x @ x.T


def weights(features):
    return cosine(features).softmax(dim=-1)


def channels(features):
    x = unit(features)
    return x.T @ x


def four_axes(features):
    return cosine(features).view(*features.shape[:2], *features.shape[:2])


def row_by_row_only(features):
    x = F.normalize(features, dim=-1)
    return x @ x.transpose(1, 2)


def first_patch_only(features):
    return cosine(features)[0].view(features.shape[:2])


def not_flattened(features):
    x = F.normalize(features, dim=-1)
    return torch.mm(x, x.mT)


def columns_first(features):
    return cosine(features.transpose(0, 1))


def backwards(features):
    return cosine(features).flip(0)


def halves(features):
    return cosine(features).half().to(features.dtype)


def always_float32(features):
    return cosine(features).float()


def in_place(features):
    features /= features.norm(dim=-1, keepdim=True)
    return cosine(features)


def a_list(features):
    return cosine(features).tolist()


def empty_matrix(features):
    raise NotImplementedError()


MATRIX = [
    (dot_products, "lengths", "Nothing is normalised"),
    (one_side, "lengths", "Only one side"),
    (over_patches, "lengths", "wrong axis, over all patches"),
    (default_dim, "lengths", "F.normalize has dim=1 by default"),
    (over_rows, "lengths", "wrong axis, over rows"),
    (one_length_for_all, "lengths", "`norm()` without `dim`"),
    (by_the_largest, "lengths", "One number for the whole matrix"),
    (attention_scale, "lengths", "attention's scale"),
    (no_root, "lengths", "The root is missing"),
    (manhattan, "ends", "another length (p=1)"),
    (no_keepdim, "runs", "keepdim=True"),
    (distances, "lengths", "This is cdist"),
    (negative_distances, "lengths", "negative distances"),
    (inverse_distances, "lengths", "inverse distances"),
    (distances_of_units, "ends", "This is Euclid's"),
    (cosine_distance, "ends", "1 less the cosine"),
    (shifted, "ends", "shifted to 0 to 1"),
    (stretched, "pairs", "stretched to 0 and 1"),
    (cut_off, "ends", "Negative similarities are cut off"),
    (sign_lost, "ends", "The sign is lost"),
    (angles, "ends", "acos makes angles"),
    (emptied_diagonal, "ends", "The diagonal is emptied"),
    (correlation, "ends", "own mean is subtracted"),
    (centred, "lengths", "The mean over all patches"),
    (weights, "pairs", "A softmax makes weights"),
    (channels, "runs", "Channels are compared"),
    (four_axes, "runs", "One row for each patch"),
    (row_by_row_only, "runs", "Only patches of one row"),
    (first_patch_only, "runs", "one patch's map"),
    (not_flattened, "runs", "Flatten (rows, columns, dim)"),
    (columns_first, "order", "column by column"),
    (backwards, "order", "have one order"),
    (halves, "same numbers", "half precision"),
    (always_float32, "float64", "Convert nothing"),
    (in_place, "input", "in place"),
    (a_list, "runs", "Return one tensor"),
    (empty_matrix, "runs", "Replace `raise"),
]

# patch_map(similarity, grid, place)


def patch_map(similarity, grid, place):
    return similarity[place[0] * grid[1] + place[1]].view(grid)


def x_and_y(similarity, grid, place):
    return patch_map(similarity, grid, place[::-1])


def counted_down(similarity, grid, place):
    return similarity[place[1] * grid[0] + place[0]].view(grid)


def times_rows(similarity, grid, place):
    return similarity[place[0] * grid[0] + place[1]].view(grid)


def one_more(similarity, grid, place):
    return similarity[place[0] * grid[1] + place[1] + 1].view(grid)


def one_less(similarity, grid, place):
    return similarity[place[0] * grid[1] + place[1] - 1].view(grid)


def swapped_grid(similarity, grid, place):
    return patch_map(similarity, grid, place).reshape(grid[::-1])


def transposed(similarity, grid, place):
    return patch_map(similarity, grid, place).T


def down_the_columns(similarity, grid, place):
    return patch_map(similarity, grid, place).reshape(grid[::-1]).T


def upside_down(similarity, grid, place):
    return patch_map(similarity, grid, place).flip(0)


def not_reshaped(similarity, grid, place):
    return similarity[place[0] * grid[1] + place[1]]


def square_root(similarity, grid, place):
    side = int(len(similarity) ** 0.5)
    return similarity[place[0] * grid[1] + place[1]].view(side, side)


def one_number(similarity, grid, place):
    return similarity[place]


def itself_left_out(similarity, grid, place):
    found = patch_map(similarity, grid, place).clone()
    found[place] = 0
    return found


def emptied_in_place(similarity, grid, place):
    similarity.fill_diagonal_(0)
    return patch_map(similarity, grid, place)


def shifted_map(similarity, grid, place):
    return (patch_map(similarity, grid, place) + 1) / 2


def stretched_map(similarity, grid, place):
    found = patch_map(similarity, grid, place)
    return (found - found.min()) / (found.max() - found.min())


def mean_of_all(similarity, grid, place):
    return similarity.mean(0).view(grid)


def empty_map(similarity, grid, place):
    raise NotImplementedError()


MAP = [
    (x_and_y, "runs", "not (x, y)"),
    (counted_down, "which patch", "Counted down the columns"),
    (times_rows, "which patch", "as many patches as there are columns"),
    (one_more, "which patch", "Class token and registers are counted"),
    (one_less, "which patch", "Off by one"),
    (swapped_grid, "runs", "reshape to (rows, columns)"),
    (transposed, "runs", "Rows and columns are swapped"),
    (down_the_columns, "places", "Patches come row by row"),
    (upside_down, "places", "upside down"),
    (not_reshaped, "runs", "The values stand in one row"),
    (square_root, "runs", "The grid is given"),
    (one_number, "runs", "one pair's similarity"),
    (itself_left_out, "values", "The patch itself is left out"),
    (emptied_in_place, "values|input", "in place"),
    (shifted_map, "values", "Values are shifted"),
    (stretched_map, "values", "no two maps can be compared"),
    (mean_of_all, "which patch|places|values", "One row of the matrix"),
    (empty_map, "runs", "Replace `raise"),
]

# draw_map(axis, picture, values)

SCALE = {"vmin": -1, "vmax": 1, "alpha": 0.6}


def over(picture):
    return {"extent": (0, picture.shape[1], picture.shape[0], 0)}


def drawn(axis, picture, values, **options):
    axis.imshow(picture, **over(picture))
    axis.imshow(values.numpy(), **(SCALE | over(picture) | options))


def opaque(axis, picture, values):
    drawn(axis, picture, values, alpha=1)


def map_alone(axis, picture, values):
    axis.imshow(values.numpy(), vmin=-1, vmax=1)


def picture_alone(axis, picture, values):
    axis.imshow(picture)


def map_first(axis, picture, values):
    axis.imshow(values.numpy(), **SCALE, **over(picture))
    axis.imshow(picture, **over(picture))


def no_extent(axis, picture, values):
    axis.imshow(picture)
    axis.imshow(values.numpy(), **SCALE)


def no_extent_but_limits(axis, picture, values):
    axis.imshow(picture)
    axis.imshow(values.numpy(), **SCALE)
    axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))


def height_for_width(axis, picture, values):
    axis.imshow(picture)
    axis.imshow(values.numpy(), **SCALE, extent=(0, *picture.shape[:2], 0))
    axis.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))


def wrong_way_up(axis, picture, values):
    drawn(axis, picture, values, origin="lower")


def extent_from_below(axis, picture, values):
    height, width, _ = picture.shape
    axis.imshow(picture)
    axis.imshow(values.numpy(), **SCALE, extent=(0, width, 0, height))
    axis.set(xlim=(0, width), ylim=(height, 0))


def both_upside_down(axis, picture, values):
    drawn(axis, picture[::-1], values)


def transposed_map(axis, picture, values):
    drawn(axis, picture, values.T)


def mirrored(axis, picture, values):
    drawn(axis, picture, values.flip(1))


def own_scale(axis, picture, values):
    drawn(axis, picture, values, vmin=None, vmax=None)


def symmetric_scale(axis, picture, values):
    largest = values.abs().max()
    drawn(axis, picture, values, vmin=-largest, vmax=largest)


def from_zero(axis, picture, values):
    drawn(axis, picture, values, vmin=0)


def without_sign(axis, picture, values):
    drawn(axis, picture, values.abs())


def another_axis(axis, picture, values):
    plt.imshow(picture)
    plt.imshow(values.numpy(), **SCALE)


def a_new_figure(axis, picture, values):
    _, axis = plt.subplots()
    drawn(axis, picture, values)


def multiplied(axis, picture, values):
    axis.imshow(picture / 255 * values.numpy()[..., None])


def empty_draw(axis, picture, values):
    raise NotImplementedError()


DRAW = [
    (opaque, "picture", "The map hides it"),
    (map_alone, "picture", "draw the picture first"),
    (picture_alone, "map", "the map comes last"),
    (map_first, "map", "The picture lies over the map"),
    (no_extent, "picture", "shows no more of the picture"),
    (no_extent_but_limits, "map", "spreads the map over the picture"),
    (height_for_width, "map", "Its edges are not the picture's"),
    (wrong_way_up, "places", "The map is upside down"),
    (extent_from_below, "places", "The map is upside down"),
    (both_upside_down, "picture", "row 0 of the picture is at the top"),
    (transposed_map, "places", "The map is transposed"),
    (mirrored, "places", "columns to the right"),
    (own_scale, "scale", "vmin=-1 and vmax=1"),
    (symmetric_scale, "scale", "no two maps can be compared"),
    (from_zero, "range", "The scale ends too early"),
    (without_sign, "range", "the sign is lost"),
    (another_axis, "runs", "axis.imshow draws on this one"),
    (a_new_figure, "runs", "axis.imshow draws on this one"),
    (multiplied, "runs", "one number for each patch"),
    (empty_draw, "runs", "Replace `raise"),
]
HELPERS = {unit, cosine, patch_map, over, drawn}
