"""Right answers to exercise 5, each written in another way."""

import json
import statistics
import timeit
from functools import partial

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import AutoConfig, AutoImageProcessor, AutoModel, Dinov2Model
from transformers import Dinov2WithRegistersModel as WithRegisters

from modarch_utils import measure

# open_timm(folder)


def by_num_classes(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    prepare = create_transform(**resolve_model_data_config(network), is_training=False)

    @torch.no_grad()
    def embed(batch):
        return network(batch)

    return prepare, embed


def by_reset_classifier(folder):
    network = timm.create_model("local-dir:" + str(folder), pretrained=True)
    network.reset_classifier(0)
    network.train(False).requires_grad_(False)
    transform = create_transform(**resolve_data_config({}, model=network))
    return lambda picture: transform(picture), network


def by_pre_logits(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    network.eval()
    transform = create_transform(**resolve_model_data_config(network))

    def embed(batch):
        with torch.inference_mode():
            return network.forward_head(network.forward_features(batch), pre_logits=True)

    return transform, embed


def by_identity(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    owner, _, name = network.pretrained_cfg["classifier"].rpartition(".")
    setattr(network.get_submodule(owner), name, nn.Identity())
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    return transform, lambda batch: network.eval()(batch).detach()


def transform_by_hand(folder):
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    look = network.pretrained_cfg
    side = look["input_size"][-1]
    how = transforms.InterpolationMode(look["interpolation"])
    steps = [
        transforms.Resize(int(side / look["crop_pct"]), how),
        transforms.CenterCrop(side),
        transforms.ToTensor(),
        transforms.Normalize(look["mean"], look["std"]),
    ]
    return transforms.Compose(steps), torch.no_grad()(network.forward)


def weights_by_hand(folder):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    network = timm.create_model(config["architecture"], num_classes=0, **config["model_args"])
    state = load_file(folder / "model.safetensors")
    left = network.load_state_dict(state, strict=False)
    assert not left.missing_keys
    look = {k: config["pretrained_cfg"][k] for k in ("mean", "std", "interpolation", "crop_pct")}
    prepare = create_transform(config["pretrained_cfg"]["input_size"], **look)
    network.eval()

    def embed(batch):
        return torch.stack([network(each[None])[0] for each in batch]).detach().clone()

    return [prepare, embed]


# open_dino(folder)


def first_token(folder):
    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModel.from_pretrained(folder)

    def prepare(picture):
        return processor(picture, return_tensors="pt")["pixel_values"][0]

    @torch.no_grad()
    def embed(batch):
        return network(batch).last_hidden_state[:, 0]

    return prepare, embed


def pooler(folder):
    processor = AutoImageProcessor.from_pretrained(str(folder))
    network = AutoModel.from_pretrained(str(folder)).eval().requires_grad_(False)
    return (
        lambda picture: processor(images=[picture], return_tensors="pt").pixel_values.squeeze(0),
        lambda batch: network(pixel_values=batch).pooler_output,
    )


def first_of_a_tuple(folder):
    processor, network = (
        AutoImageProcessor.from_pretrained(folder),
        AutoModel.from_pretrained(folder),
    )

    def prepare(picture):
        array = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"]
        return torch.from_numpy(array)[0]

    def embed(batch):
        with torch.inference_mode():
            return network(batch, return_dict=False)[0].select(1, 0).clone()

    return prepare, embed


def by_architecture(folder):
    registers = AutoConfig.from_pretrained(folder).model_type == "dinov2_with_registers"
    network = (WithRegisters if registers else Dinov2Model).from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)

    def embed(batch):
        return network(batch).last_hidden_state[:, 0, :].detach()

    return lambda p: processor.preprocess(p, return_tensors="pt")["pixel_values"][0], embed


def normalised_by_hand(folder):
    prepare, _ = first_token(folder)
    network = AutoModel.from_pretrained(folder)

    @torch.no_grad()
    def embed(batch):
        states = network(batch, output_hidden_states=True).hidden_states
        return network.layernorm(states[-1])[:, 0]

    return prepare, embed


class Wrapped(nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.body = AutoModel.from_pretrained(folder)

    def forward(self, batch):
        return self.body(batch)[0][:, 0]


def a_module(folder):
    return first_token(folder)[0], Wrapped(folder).eval().requires_grad_(False)


# extract(pictures, prepare, embed, batch_size)


def slices(pictures, prepare, embed, batch_size):
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = torch.stack([prepare(p) for p in pictures[start : start + batch_size]])
        parts.append(embed(batch))
    return torch.cat(parts)


def prepared_at_once(pictures, prepare, embed, batch_size):
    inputs = torch.stack([*map(prepare, pictures)])
    return np.concatenate([embed(part).numpy() for part in inputs.split(batch_size)])


class Prepared(Dataset):
    def __init__(self, pictures, prepare):
        self.pictures, self.prepare = pictures, prepare

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.prepare(self.pictures[index])


def loader(pictures, prepare, embed, batch_size):
    batches = DataLoader(Prepared(pictures, prepare), batch_size=batch_size)
    return np.vstack([embed(batch).cpu().numpy() for batch in batches])


def collated(pictures, prepare, embed, batch_size):
    def collate(some):
        return torch.stack([prepare(p) for p in some])

    return torch.vstack(
        [embed(b) for b in DataLoader(pictures, batch_size, collate_fn=collate, shuffle=False)]
    )


def filled_in(pictures, prepare, embed, batch_size):
    result = None
    for start in range(0, len(pictures), batch_size):
        stop = min(start + batch_size, len(pictures))
        found = embed(torch.stack([prepare(pictures[i]) for i in range(start, stop)])).numpy()
        if result is None:
            result = np.empty((len(pictures), found.shape[1]), found.dtype)
        result[start:stop] = found
    return result


def buffered(pictures, prepare, embed, batch_size):
    rows, waiting = [], []
    for number, picture in enumerate(pictures, 1):
        waiting.append(prepare(picture))
        if len(waiting) == batch_size or number == len(pictures):
            rows.extend(embed(torch.stack(waiting)).tolist())
            waiting = []
    return np.array(rows, dtype=np.float32)


# svm_accuracy(train, test)


def pipeline(train, test):
    return make_pipeline(StandardScaler(), LinearSVC(max_iter=10_000)).fit(*train).score(*test)


def named_steps(train, test):
    steps = [("scale", StandardScaler()), ("svm", LinearSVC(C=0.1, random_state=3))]
    machine = Pipeline(steps).fit(train[0], train[1])
    return accuracy_score(test[1], machine.predict(test[0]))


def one_by_one(train, test):
    (x, y), (a, b) = train, test
    scaler = StandardScaler()
    x = scaler.fit_transform(x)
    svm = LinearSVC(dual=False).fit(x, y)
    return float(np.mean(svm.predict(scaler.transform(a)) == b))


def by_hand(train, test):
    mean, std = train[0].mean(0), train[0].std(0)
    svm = LinearSVC(loss="hinge", max_iter=50_000, random_state=0)
    svm.fit((train[0] - mean) / std, train[1])
    guesses = svm.predict((test[0] - mean) / std)
    return sum(g == t for g, t in zip(guesses, test[1], strict=True)) / len(guesses)


def linear_kernel(train, test):
    return make_pipeline(StandardScaler(), SVC(kernel="linear")).fit(*train).score(*test)


def argmax_of_scores(train, test):
    machine = make_pipeline(StandardScaler(), LinearSVC(C=10, max_iter=20_000))
    machine.fit(*train)
    scores = machine.decision_function(test[0])
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    return (machine.classes_[scores.argmax(1)] == test[1]).mean()


# milliseconds_per_picture(work, pictures, repeats, clock)


def a_loop(work, pictures, repeats, clock):
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return 1000 * statistics.median(times) / pictures


def by_the_course(work, pictures, repeats, clock):
    found = measure.take_turns({"work": work}, warmup=2, rounds=repeats, clock=clock)
    return found["work"].median * 1000 / pictures


def nanoseconds(work, pictures, repeats, clock):
    for _ in range(3):
        work()
    times = np.empty(repeats)
    for i in range(repeats):
        start = round(1e9 * clock())
        work()
        times[i] = round(1e9 * clock()) - start
    return float(np.median(times)) / 1e6 / pictures


def all_but_the_first(work, pictures, repeats, clock):
    times = []
    for _ in range(repeats + 1):
        start = clock()
        work()
        times.append((clock() - start) / pictures * 1e3)
    return sorted(times[1:])[repeats // 2]


def marks(work, pictures, repeats, clock):
    work()
    at = [clock()]
    for _ in range(repeats):
        work()
        at.append(clock())
    return np.median(np.diff(at)) * 1000 / pictures


def of_tensors(work, pictures, repeats, clock):
    def once():
        start = clock()
        work()
        return clock() - start

    once()
    return torch.tensor([once() for _ in range(repeats)]).median().item() / pictures * 1000


def by_timeit(work, pictures, repeats, clock):
    work()
    times = timeit.repeat(work, timer=clock, number=1, repeat=repeats)
    return statistics.median(times) * 1e3 / pictures


# compare(open_network, folder, train, test, clock)


def straight(open_network, folder, train, test, clock):
    start = clock()
    prepare, embed = open_network(folder)
    load_s = clock() - start
    x, a = (slices(part[0], prepare, embed, 16) for part in (train, test))
    start = clock()
    accuracy = {q: pipeline((x, train[1][q]), (a, test[1][q])) for q in train[1]}
    svm_s = clock() - start
    some = test[0][:10]
    batch = torch.stack([prepare(p) for p in some])
    return {
        "accuracy": accuracy,
        "load_s": load_s,
        "prepare_ms": a_loop(lambda: [prepare(p) for p in some], len(some), 5, clock),
        "network_ms": a_loop(lambda: embed(batch), len(some), 5, clock),
        "svm_s": svm_s,
    }


def timed_first(open_network, folder, train, test, clock):
    row, start = {"network": folder}, clock()
    prepare, embed = open_network(folder)
    row["load_s"] = clock() - start
    batch = prepare(test[0][0])[None].repeat(20, 1, 1, 1)
    row["prepare_ms"] = nanoseconds(partial(prepare, test[0][0]), 1, 7, clock)
    row["network_ms"] = by_the_course(partial(embed, batch), 20, 3, clock)
    features = [prepared_at_once(part[0], prepare, embed, 7) for part in (train, test)]
    start = clock()
    row["accuracy"] = {
        question: one_by_one((features[0], labels), (features[1], test[1][question]))
        for question, labels in train[1].items()
    }
    row["svm_s"] = clock() - start
    return row


def one_picture_at_a_time(open_network, folder, train, test, clock):
    began = clock()
    prepare, embed = open_network(folder)
    opened = clock()
    table = {id(p): embed(prepare(p)[None])[0].numpy() for p in (*train[0], *test[0])}
    x, a = (np.stack([table[id(p)] for p in part[0]]) for part in (train, test))
    svm_s, accuracy = 0.0, {}
    for question in test[1]:
        start = clock()
        accuracy[question] = named_steps((x, train[1][question]), (a, test[1][question]))
        svm_s += clock() - start
    some = torch.stack([prepare(p) for p in test[0]])
    return dict(
        accuracy=accuracy,
        load_s=opened - began,
        prepare_ms=a_loop(lambda: prepare(test[0][3]), 1, 9, clock),
        network_ms=a_loop(lambda: embed(some), len(some), 3, clock),
        svm_s=svm_s,
    )


# choose_strength(train, val, strengths)


def largest_share(train, val, strengths):
    best = None
    for strength in sorted(strengths):
        machine = make_pipeline(StandardScaler(), LinearSVC(C=strength, max_iter=20_000))
        share = machine.fit(*train).score(*val)
        if best is None or share > best[0]:
            best = share, strength
    return best[1]


def by_a_key(train, val, strengths):
    def key(strength):
        svm = LinearSVC(C=strength, max_iter=20_000, random_state=1)
        return -make_pipeline(StandardScaler(), svm).fit(*train).score(*val), strength

    return min(strengths, key=key)


# knn_accuracy(train, test, k)


def cosines(train, test, k):
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x, _ in (train, test)]
    nearest = np.argsort(-(units[1] @ units[0].T), axis=1)[:, :k]
    right = 0
    for places, truth in zip(nearest, test[1], strict=True):
        names, counts = np.unique(train[1][places], return_counts=True)
        right += names[counts.argmax()] == truth
    return right / len(test[1])


def by_scikit_learn(train, test, k):
    return KNeighborsClassifier(k, metric="cosine").fit(*train).score(*test)


def by_lengths(train, test, k):
    unit = [F.normalize(torch.as_tensor(x), dim=1).numpy() for x, _ in (train, test)]
    return KNeighborsClassifier(n_neighbors=k).fit(unit[0], train[1]).score(unit[1], test[1])


# mean_and_error(shares)


def with_numpy(shares):
    if len(shares) < 2:
        raise ValueError("At least two runs are needed for an error.")
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))


def with_statistics(shares):
    # statistics.StatisticsError is a ValueError
    return statistics.mean(shares), statistics.stdev(shares) / len(shares) ** 0.5


ANSWERS = {
    "open_timm": [
        by_num_classes,
        by_reset_classifier,
        by_pre_logits,
        by_identity,
        transform_by_hand,
        weights_by_hand,
    ],
    "open_dino": [
        first_token,
        pooler,
        first_of_a_tuple,
        by_architecture,
        normalised_by_hand,
        a_module,
    ],
    "extract": [slices, prepared_at_once, loader, collated, filled_in, buffered],
    "svm_accuracy": [pipeline, named_steps, one_by_one, by_hand, linear_kernel, argmax_of_scores],
    "milliseconds_per_picture": [
        a_loop,
        by_the_course,
        nanoseconds,
        all_but_the_first,
        marks,
        of_tensors,
        by_timeit,
    ],
    "compare": [straight, timed_first, one_picture_at_a_time],
    "choose_strength": [largest_share, by_a_key],
    "knn_accuracy": [cosines, by_scikit_learn, by_lengths],
    "mean_and_error": [with_numpy, with_statistics],
}
