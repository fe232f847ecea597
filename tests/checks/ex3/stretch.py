"""Answers to exercise 3's stretch parts, right and wrong."""

import torch
from sklearn.decomposition import PCA
from torch.nn import functional as F

# foreground(features)


def turned(mask):
    inner = torch.zeros_like(mask)
    inner[1:-1, 1:-1] = True
    return mask if mask[inner].float().mean() >= mask[~inner].float().mean() else ~mask


def component(features, number=0):
    x = features.flatten(0, 1)
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    return (x @ vectors[:, values.argsort(descending=True)[number]]).view(features.shape[:2])


def by_eigenvectors(features):
    return turned(component(features) > 0)


def by_sklearn(features):
    found = PCA(1).fit_transform(features.flatten(0, 1).numpy())[:, 0]
    return turned(torch.from_numpy(found).view(features.shape[:2]) > 0)


def by_u(features):
    x = features.reshape(-1, features.shape[-1])
    u, _, _ = torch.linalg.svd(x - x.mean(dim=0, keepdim=True))
    first = u[:, 0].reshape(features.shape[:2])
    edge = torch.cat((first[0], first[-1], first[:, 0], first[:, -1]))
    return first > 0 if edge.median() < 0 else first < 0


def not_centred(features):
    vh = torch.linalg.svd(features.flatten(0, 1), full_matrices=False).Vh
    return turned(features @ vh[0] > 0)


def any_sign(features):
    """Whatever sign the decomposition happened to give, here by the patches' numbers."""
    found = component(features)
    return found > 0 if found[3, 4] * features[0, 0, 0] > 0 else found < 0


def turned_the_wrong_way(features):
    return ~by_eigenvectors(features)


def second_component(features):
    return turned(component(features, 1) > 0)


def above_the_median(features):
    found = component(features)
    return turned(found > found.median())


def not_a_mask(features):
    return component(features)


def in_one_row(features):
    return by_eigenvectors(features).flatten()


def channels_as_samples(features):
    x = features.flatten(0, 1).T
    x = x - x.mean(0)
    return torch.linalg.svd(x, full_matrices=False).U[:, 0] > 0


def unwritten(*_):
    raise NotImplementedError()


RIGHT_FOREGROUND = [by_eigenvectors, by_sklearn, by_u]
WRONG_FOREGROUND = [
    (not_centred, "centred", "The mean over all patches is not subtracted"),
    (any_sign, "sign", "A component's sign is arbitrary"),
    (turned_the_wrong_way, "sign", "the wrong way round"),
    (second_component, "object", "The first component is the first row of Vh"),
    (above_the_median, "object", "cut at 0"),
    (not_a_mask, "runs", "component > 0"),
    (in_one_row, "runs", "Patches stand in one row"),
    (channels_as_samples, "runs", "patches are the samples"),
    (unwritten, "runs", "Replace `raise"),
]

# partners(a, b)


def cosines(a, b):
    return F.normalize(a.flatten(0, 1), dim=1) @ F.normalize(b.flatten(0, 1), dim=1).T


def places(numbers, columns, shape):
    return torch.stack((numbers // columns, numbers % columns), -1).view(*shape[:2], 2)


def divided(a, b):
    return places(cosines(a, b).argmax(1), b.shape[1], a.shape)


def unravelled(a, b):
    found = torch.unravel_index(cosines(a, b).max(dim=1).indices, b.shape[:2])
    return torch.stack(found, dim=-1).unflatten(0, a.shape[:2])


def in_loops(a, b):
    found = torch.zeros(*a.shape[:2], 2, dtype=torch.int32)
    for row, patches in enumerate(a):
        for column, patch in enumerate(patches):
            alike = F.cosine_similarity(patch, b, dim=-1)
            found[row, column] = (alike == alike.max()).nonzero()[0]
    return found


def dot_products(a, b):
    return places((a.flatten(0, 1) @ b.flatten(0, 1).T).argmax(1), b.shape[1], a.shape)


def distances(a, b):
    found = torch.cdist(a.flatten(0, 1), b.flatten(0, 1)).argmin(1)
    return places(found, b.shape[1], a.shape)


def least(a, b):
    return places(cosines(a, b).argmin(1), b.shape[1], a.shape)


def second_best(a, b):
    return places(cosines(a, b).topk(2).indices[:, 1], b.shape[1], a.shape)


def x_and_y(a, b):
    return divided(a, b).flip(-1)


def by_its_rows(a, b):
    return places(cosines(a, b).argmax(1), b.shape[0], a.shape)


def by_the_firsts_columns(a, b):
    return places(cosines(a, b).argmax(1), a.shape[1], a.shape)


def fractions(a, b):
    found = cosines(a, b).argmax(1)
    return torch.stack((found / b.shape[1], found % b.shape[1]), -1).view(*a.shape[:2], 2)


def numbers_alone(a, b):
    return cosines(a, b).argmax(1).view(a.shape[:2])


def the_way_back(a, b):
    return divided(b, a)


def places_in_front(a, b):
    return divided(a, b).permute(2, 0, 1)


RIGHT_PARTNERS = [divided, unravelled, in_loops]
WRONG_PARTNERS = [
    (dot_products, "partner", "Nothing is normalised"),
    (distances, "partner", "cdist looks at the vectors' tips"),
    (least, "partner", "argmax, not argmin"),
    (second_best, "partner", "Not the most similar ones"),
    (x_and_y, "place", "Column and row are swapped"),
    (by_its_rows, "place", "not by its rows"),
    (by_the_firsts_columns, "place", "not by the first one's"),
    (fractions, "runs", "divide with //"),
    (numbers_alone, "runs", "A patch's number is not its place"),
    (the_way_back, "runs", "This is the way back"),
    (places_in_front, "runs", "Row and column come last"),
    (unwritten, "runs", "Replace `raise"),
]
