"""Comparisons of the newer methods: LiNeS, Model Stock (a port), LDIFS, FTP, Lipsum-FT, DaWin."""

from __future__ import annotations

import ast
import copy
import math
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.special import betaln, logsumexp
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import Optimizer

from bench.methods.dawin import beta_mixture, entropy_weight
from bench.methods.ftp import Projected
from bench.methods.ldifs import feature_distance, recorded
from bench.methods.lines import LayerScaling
from bench.methods.lipsum_ft import energy_gap
from bench.methods.model_stock import AngleWeights
from bench.models.weights import interpolate_tensors
from bench.posthoc.ensembles import LogProbPair
from parity_cases.case import Arrays, Case, leaves, value_and_gradients
from parity_cases.merging import numbers
from parity_cases.official import Checkout, on_cpu

BLOCKS = 4
LAYERS = {
    "conv1.weight": (3, 2),
    **{f"transformer.resblocks.{i}.w": (2, 3) for i in range(BLOCKS)},
    "proj": (3,),
}
ALPHAS = (0.0, 0.3, 1.0)
LINES = {f"{model}.{name}": shape for model in ("zs", "ft") for name, shape in LAYERS.items()}
STOCK = {f"{model}.{n}": s for model in ("zs", "one", "two") for n, s in LAYERS.items()}


def states(inputs: Arrays, *models: str) -> list[dict[str, Tensor]]:
    """Return the state dicts of `models`, in single precision."""
    return [{n: torch.tensor(inputs[f"{m}.{n}"]).float() for n in LAYERS} for m in models]


def our_lines(inputs: Arrays) -> Arrays:
    """Run `interpolate_tensors` with `LayerScaling`."""
    both = states(inputs, "zs", "ft")
    return numbers({str(a): interpolate_tensors(both, LayerScaling(a)) for a in ALPHAS})


def official_lines(inputs: Arrays, official: Checkout) -> Arrays:
    """Scale the update by the repository's function, and add it to the start."""
    scale = official.define("src/eval/eval.py", "LiNeS_scaling", copy=copy)
    zs, ft = states(inputs, "zs", "ft")
    update = {name: ft[name] - zs[name] for name in zs}
    found = {}
    with on_cpu():
        for a in ALPHAS:
            scaled = scale(SimpleNamespace(vector=update), a, 1 - a, BLOCKS).vector
            found[str(a)] = {name: zs[name] + scaled[name] for name in zs}
    return numbers(found)


def near(inputs: Arrays) -> list[dict[str, Tensor]]:
    """Return a start, and two models whose updates have an acute angle."""
    zs, one, two = states(inputs, "zs", "one", "two")
    return [zs, {n: zs[n] + 1 + one[n] for n in zs}, {n: zs[n] + 1 + two[n] for n in zs}]


def our_stock(inputs: Arrays) -> Arrays:
    """Run `interpolate_tensors` with `AngleWeights`."""
    return numbers({"merged": interpolate_tensors(near(inputs), AngleWeights())})


def ported_stock(inputs: Arrays, port: Checkout) -> Arrays:
    """Run the port's three functions, as its class does."""
    given = {"torch": torch, "OrderedDict": OrderedDict, "math": math, "np": np, "copy": copy}
    given |= {"EPS": 1e-8, "Dict": dict, "List": list, "StateDictType": dict}
    file = "fusion_bench/method/model_stock/model_stock.py"
    names = ("compute_angle", "compute_ratio", "merge_weights")
    angle, ratio, merged = (port.define(file, name, **given) for name in names)
    zs, one, two = near(inputs)
    return numbers({"merged": merged(one, two, zs, ratio(angle(one, two, zs)))})


TOKENS = {f"{model}.{point}": (2, 5, 4) for model in ("zs", "ft") for point in range(6)}
LDIFS = "loss/ldifs.py"


def our_ldifs(inputs: Arrays) -> Arrays:
    """Compute `feature_distance` as in the code, and its gradients."""
    tensors = leaves(inputs)
    start, tuned = ([tensors[f"{m}.{p}"] for p in range(6)] for m in ("zs", "ft"))
    value = feature_distance(start, tuned, "official-code")
    return value_and_gradients(value, {n: t for n, t in tensors.items() if n.startswith("ft")})


def official_ldifs(inputs: Arrays, official: Checkout) -> Arrays:
    """Compute the repository's regulariser of two models with given features."""
    tensors = leaves(inputs)
    normalised = official.define(LDIFS, "normalize_tensor", torch=torch)
    regulariser = official.define(
        LDIFS, "LDIFSFinetune", torch=torch, nn=nn, normalize_tensor=normalised
    )
    models = [
        SimpleNamespace(
            N_slices=6,
            parameters=list,
            get_features=lambda images, m=m: [tensors[f"{m}.{p}"] for p in range(6)],
        )
        for m in ("zs", "ft")
    ]
    value = regulariser(*models)(None)
    return value_and_gradients(value, {n: t for n, t in tensors.items() if n.startswith("ft")})


def small_vit() -> Any:
    """Return a vision transformer of open_clip with seeded weights."""
    import open_clip

    torch.manual_seed(0)
    tower = open_clip.model.VisionTransformer(
        image_size=8, patch_size=4, width=8, layers=12, heads=2, mlp_ratio=2, output_dim=5
    )
    return tower.double().eval()


def our_points(inputs: Arrays) -> Arrays:
    """Return the features that `recorded` finds at the code's points."""
    tower = small_vit()
    with torch.no_grad(), recorded(tower, "official-code") as found:
        tower(torch.tensor(inputs["images"]))
    return {str(i): feature.numpy() for i, feature in enumerate(found)}


def official_points(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the repository's encoder on the same transformer; return the features it compares."""
    from collections import namedtuple

    tower = small_vit()
    clip = SimpleNamespace(create_model_and_transforms=lambda *a, **k: (holder, None, None))
    holder = nn.Module()
    holder.visual = tower
    encoder = official.define(
        "model/modeling_analysis.py", "ImageEncoderAugmented", torch=torch, open_clip=clip,
        namedtuple=namedtuple,
    )  # fmt: skip
    args = SimpleNamespace(model="ViT", openclip_cachedir=None, cache_dir=None)
    with torch.no_grad(), on_cpu():
        # The code's loop has tokens first, as its open_clip had; ours has samples first.
        for block in tower.transformer.resblocks:
            forward = block.forward
            block.forward = lambda h, f=forward: f(h.permute(1, 0, 2)).permute(1, 0, 2)
        features = encoder(args).get_features(torch.tensor(inputs["images"]))
        found = features[: encoder(args).N_slices]
    return {str(i): feature.numpy() for i, feature in enumerate(found)}


FTP_SHAPES = {"conv.weight": (3, 2, 2), "dense.weight": (4, 3), "dense.bias": (4,)}
STEPS, RATE = 6, 0.05
FTP_INPUTS = FTP_SHAPES | {f"{step}.{n}": s for step in range(STEPS) for n, s in FTP_SHAPES.items()}


class Weights(nn.Module):
    """A model of the given tensors, in double precision."""

    def __init__(self, inputs: Arrays) -> None:
        super().__init__()
        for name in FTP_SHAPES:
            self.register_parameter(
                name.replace(".", "_"), nn.Parameter(torch.tensor(inputs[name]))
            )


def ftp_steps(inputs: Arrays, step: Any, model: Weights) -> Arrays:
    """Set given gradients, call `step` and collect the weights after every step."""
    found = {}
    for number in range(STEPS):
        for name, parameter in zip(FTP_SHAPES, model.parameters(), strict=True):
            parameter.grad = torch.tensor(inputs[f"{number}.{name}"])
        step(number)
        for name, parameter in zip(FTP_SHAPES, model.parameters(), strict=True):
            found[f"{number} {name}"] = parameter.detach().clone().numpy()
    return found


def our_ftp(inputs: Arrays, anneal: float) -> Arrays:
    """Run AdamW and the projection."""
    model = Weights(inputs)
    trainer = Projected(lr=RATE, anneal=anneal)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.1)
    state = trainer.state_dict(model)

    def step(number: int) -> None:
        optimizer.step()
        trainer.after_step(model, state, number, STEPS)

    return ftp_steps(inputs, step, model)


def official_ftp(inputs: Arrays, official: Checkout, anneal: float) -> Arrays:
    """Run the repository's optimiser."""
    file, model = "util/FTP.py", Weights(inputs)
    projection = official.define(file, "FTP", torch=torch)
    optimiser = official.define(
        file, "AdamP", torch=torch, Optimizer=Optimizer, math=math, FTP=projection
    )
    parameters = list(model.parameters())
    group = {"params": parameters, "pre": copy.deepcopy(parameters), "name": list(FTP_SHAPES)}
    adam = optimiser([group], lr=RATE, weight_decay=0.1, k=anneal)
    return ftp_steps(inputs, lambda number: adam.step(), model)


SAMPLES, CLASSES = 40, 6
DAWIN = {"zs": (SAMPLES, CLASSES), "ft": (SAMPLES, CLASSES)}
T = (0.96, 1.0066)  # its constants for ViT-B/16
SHARP = 6.0


def our_weights(inputs: Arrays, offset: bool) -> Arrays:
    """Compute `entropy_weight` of both models at the code's temperatures."""
    pair = LogProbPair.of(SHARP * inputs["zs"], SHARP * inputs["ft"], T)
    return {"weight": entropy_weight(pair, offset)}


def official_weights(inputs: Arrays, official: Checkout, offset: bool) -> Arrays:
    """Run the repository's class from logits to coefficients."""
    calls = iter([SHARP * torch.tensor(inputs["zs"]), SHARP * torch.tensor(inputs["ft"])])
    labels = torch.zeros(SAMPLES, dtype=torch.long)
    main = "dawin_rft/main_dawin.py"
    dawin = official.define(
        main,
        "DaWin",
        torch=torch,
        copy=copy,
        F=F,
        interpolation=lambda alpha, one, two: None,
        get_feats_logits_and_labels=lambda *a, **k: (
            None, next(calls), labels, lambda logits, device: logits,
        ),
        compute_sample_loss_uncertainty_acc=official.define(
            "dawin_rft/utils.py", "compute_sample_loss_uncertainty_acc", torch=torch, F=F
        ),
    )  # fmt: skip
    args = SimpleNamespace(
        wise_alpha=0.0, expertise="negexp_ent_ratio", model="ViT-B/16", offset_adjustment=offset,
        device="cpu", ensemble_coef="", save_outputs=0, prefix="",
    )  # fmt: skip
    with on_cpu():
        merger = dawin(None, None, args, None, None)
        merger.build_datastore(dsname="set")
    return {"weight": merger.datastore["coefficient"].numpy()}


def spread(inputs: Arrays) -> Any:
    """Return weights in (0, 1) that fall into three groups."""
    x = inputs["values"]
    return np.concatenate([0.2 + 0.1 * x[:20], 0.5 + 0.12 * x[20:50], 0.8 + 0.1 * x[50:]])


def our_mixture(inputs: Arrays) -> Arrays:
    """Fit `beta_mixture`."""
    cluster, means = beta_mixture(spread(inputs), 3)
    return {"mean of the cluster of each": means[cluster]}


def official_mixture(inputs: Arrays, official: Checkout) -> Arrays:
    """Fit the repository's mixture; components are named by their means."""
    model = official.define(
        "dawin_rft/mixturemodel.py", "BetaMixtureModel", np=np, KMeans=KMeans, betaln=betaln,
        logsumexp=logsumexp,
    )(n_mixtures=3, random_seed=1)  # fmt: skip
    values = spread(inputs).reshape(-1, 1)
    with on_cpu():
        model.fit(values)
    means = model.beta_params_[:, 0] / model.beta_params_.sum(axis=1)
    return {"mean of the cluster of each": means[model.predict(values)]}


ENERGIES = {"start": (5, 4), "tuned": (5, 4), "texts": (3, 4)}
LIPSUM = "scripts/Lipsum-FT.py"
SCALE = 7.0


def unit(inputs: Arrays, name: str) -> Any:
    """Return an input with rows of norm 1."""
    return inputs[name] / np.linalg.norm(inputs[name], axis=1, keepdims=True)


def our_gap(inputs: Arrays) -> Arrays:
    """Compute `energy_gap`."""
    start, tuned, texts = (torch.tensor(unit(inputs, name)) for name in ENERGIES)
    return {"value": energy_gap(start, tuned, texts, SCALE).numpy()}


def official_gap(inputs: Arrays, official: Checkout) -> Arrays:
    """Run the statements of the regulariser, with NumPy in place of JAX."""
    names: dict[str, Any] = {
        "jnp": np,
        "pretrained_params": {"logit_scale": np.log(SCALE)},
        "config": SimpleNamespace(token_k_ways=len(inputs["texts"])),
        "priors": unit(inputs, "start"),
        "output": unit(inputs, "tuned"),
        "txts": unit(inputs, "texts"),
    }
    for mentions in (
        "target priors txts",
        "source output txts",
        "feat_regularization square",
        "feat_regularization mean",
    ):
        names = official.run(LIPSUM, "launch", ast.Assign, mentions, **names)
    return {"value": np.asarray(names["feat_regularization"])}


_FTP = partial(Case, repository="FTP", source="util/FTP.py:AdamP", tolerance=1e-9)
_DAWIN = "dawin_rft/main_dawin.py:DaWin"
CASES = (
    Case(
        "weights by depth", "LiNeS", "src/eval/eval.py:LiNeS_scaling", 1e-6, our_lines,
        official_lines, LINES, 51,
    ),
    Case(
        "weights by angle (a port)", "FusionBench",
        "fusion_bench/method/model_stock/model_stock.py:merge_weights", 1e-5, our_stock,
        ported_stock, STOCK, 52,
    ),
    Case(
        "feature distance", "LDIFS", f"{LDIFS}:LDIFSFinetune", 1e-9, our_ldifs, official_ldifs,
        TOKENS, 53,
    ),
    Case(
        "features of a transformer", "LDIFS", "model/modeling_analysis.py:ImageEncoderAugmented",
        1e-9, our_points, official_points, {"images": (2, 3, 8, 8)}, 54,
    ),
    *(
        _FTP(
            f"six steps, k = {k:g}", ours=partial(our_ftp, anneal=k),
            official=partial(official_ftp, anneal=k), shapes=FTP_INPUTS, seed=55,
        )
        for k in (1.0, 0.0)
    ),
    Case(
        "change of energies (NumPy for JAX)", "Lipsum-FT", f"{LIPSUM}:launch", 1e-9, our_gap,
        official_gap, ENERGIES, 58,
    ),
    *(
        Case(
            f"weights by entropy{', offset' * offset}", "DaWin", _DAWIN, 1e-9,
            partial(our_weights, offset=offset), partial(official_weights, offset=offset), DAWIN,
            56,
        )
        for offset in (False, True)
    ),
    Case(
        "clusters of weights", "DaWin", "dawin_rft/mixturemodel.py:BetaMixtureModel", 1e-3,
        our_mixture, official_mixture, {"values": (70,)}, 57,
    ),
)  # fmt: skip
