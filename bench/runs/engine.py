"""The engine computes the items that need a model; it is made only if such an item is pending.

It runs in one process or several (``torchrun``, ``accelerate launch``). Every process holds the
model. Training is data-parallel, blocks of features are divided among the processes, and only the
first process computes and writes everything else.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from accelerate.utils import set_seed
from torch import Tensor, distributed, nn

from bench.api.declarations import chosen_edges
from bench.api.recipe_parts import (
    encoder_of,
    features_key,
    head_of,
    normalizes,
    stored_parts,
    weights_key,
)
from bench.api.recipes import Backbone, Encoder, Fisher, TextHead, Tuned
from bench.api.splits import Loaded, Split
from bench.api.trainer import AtEpoch, GradientTrainer, Keep, Trainer, epochs_needed
from bench.core.environment import core_count
from bench.core.errors import CellError, InputError
from bench.core.hashing import canonical
from bench.core.progress import Progress
from bench.core.store import MissingOutput, Store, rows_in
from bench.core.trainings import Entry, store_history
from bench.models.clip import head_caveats, load_clip, text_head, tokenized
from bench.models.devices import (
    exact_arithmetic,
    pick_device,
    place_of_process,
    threads_of_the_machine,
)
from bench.models.facts import facts_of, write_model_note
from bench.models.features import Forward, predict_split
from bench.models.heads import load_head
from bench.models.training.accuracy import accuracy_in_training, image_batches
from bench.models.training.checkpoints import Checkpoints
from bench.models.training.effect import LOOKED_AT, effect_caveats
from bench.models.training.fisher import fisher_information
from bench.models.training.loop import Model, Training
from bench.models.training.networks import DualEncoder, FrozenText, ImageClassifier
from bench.models.training.reading import shared_memory_named
from bench.models.transforms import (
    EvalImages,
    TrainImages,
    byte_tensor,
    evaluation_transform,
    input_size,
    normalisation,
)
from bench.models.weights import HeldEncoders, State, encoder_state
from bench.runs.costs.counts import TUNING, TUNING_BOTH
from bench.runs.costs.rates import Sample
from bench.runs.costs.stopwatch import Stopwatch
from bench.runs.trackers import Trackers


@dataclass
class Engine:
    """A loaded backbone that can be trained and run.

    `device` is ``cpu``, ``cuda``, ``mps`` or ``auto``. With `epoch_accuracy`, every training run
    is evaluated on the selection split after each epoch. `micro_batch` is the most images that go
    through a model in training at a time. `times` collects samples of ``train``, ``train both``
    and ``forward`` for later estimates.
    """

    backbone: Backbone
    store: Store
    device: str
    precision: str
    batch_size: int
    workers: int | None
    progress: Progress
    opened: Callable[[Split], Loaded]
    trackers: Trackers = field(default_factory=Trackers)
    epoch_accuracy: bool = False
    micro_batch: int | None = None
    times: dict[str, list[Sample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rank, self.ranks = place_of_process()
        self.where = pick_device(self.device)
        exact_arithmetic()
        self.clip = load_clip(self.backbone)
        if self.is_main:
            write_model_note(self.store, self.backbone, facts_of(self.clip), self.clip.caveats)
        self.tower = copy.deepcopy(self.clip.model.visual)
        self.held = HeldEncoders(self.store, self.clip.model.visual.state_dict, self.where)

    @property
    def hardware(self) -> str:
        """The name of the device, for provenance."""
        is_cuda = self.where.type == "cuda"
        return torch.cuda.get_device_name(self.where) if is_cuda else self.where.type

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def build_head(self, recipe: TextHead) -> None:
        """Build and store a zero-shot head."""
        if self.is_main:
            key, tokens = weights_key(recipe), tokenized(self.clip, recipe)
            caveats = head_caveats(self.clip, recipe, tokens)
            with self.progress.task("build zero-shot head", len(recipe.classnames)) as task:
                head = text_head(self.clip, recipe, self.where, task.advance, tokens)
                self._write_weights(key, head, caveats)

    def train(
        self, recipes: Sequence[Tuned], train: Split, selection: Split, label: str = "train"
    ) -> None:
        """Train, or resume from a checkpoint, and store the weights of `recipes`.

        All recipes share one training run: they differ only in which of its weights they `keep`.
        `label` names it in the progress. What is no gradient descent over images, such as L-BFGS,
        is computed by the first process, with the threads of the machine.
        """
        recipe = recipes[0].training
        key, trainer = weights_key(recipe), recipe.trainer
        if not (self.is_main or self._shares(trainer)):
            return
        label = f"{label}: {trainer.title}, seed {recipe.seed}"
        total = train.size * epochs_needed(trainer, [r.keep for r in recipes])
        work = (TUNING_BOTH if trainer.tunes_text else TUNING) if trainer.tunes_encoder else 0.0
        with self.progress.task(label, total, work) as task:
            keys = {r.keep: weights_key(r) for r in recipes}
            seen, resumed = 0, 0

            def report(done: int, _: int) -> None:
                nonlocal seen, resumed
                resumed = resumed or done  # the first report counts what an earlier run did
                task.advance(done - seen)
                seen = done

            history: list[Entry] = []
            remarks: list[str] = []
            ends: dict[Keep | None, State] = {}

            def emit(keep: Keep | None, weights: State) -> None:
                if not isinstance(keep, AtEpoch):
                    ends[keep] = weights  # stored below, with what the training changed
                elif self.is_main:
                    store_history(self.store, key, history)
                    self._write_weights(keys[keep], weights, remarks, history)

            training = replace(
                self._training(recipe, train, selection, report),
                keeps=tuple(keys),
                emit=emit,
                logged=lambda entry: history.append(dict(entry)),
                remark=remarks.append,
            )
            settings = {**canonical(trainer), "seed": recipe.seed, "key": key}
            with self.trackers.training(f"{label}, {key[:8]}", settings) as observe:
                started = Stopwatch()
                self._free()
                set_seed(recipe.seed)
                training = replace(training, observe=observe)
                if self._shares(trainer):
                    weights = trainer.train(training)
                else:
                    with threads_of_the_machine():
                        weights = trainer.train(_Alone(**vars(training)))
            if None in keys:
                ends[None] = weights
            if self.is_main:
                store_history(self.store, key, history)
                for keep, end in ends.items():
                    caveats = self._effect(recipe, train, training, history, end)
                    self._write_weights(keys[keep], end, [*remarks, *caveats], history)
                Checkpoints(self.store, key).discard()
                if trainer.tunes_encoder:
                    self._timed(_rate_name(trainer), seen - resumed, started)

    def _shares(self, trainer: Trainer) -> bool:
        """Whether all processes, if there are several, take part in a training."""
        by_steps = trainer.tunes_encoder or isinstance(trainer, GradientTrainer)
        return by_steps or self.ranks == 1

    def _training(
        self, recipe: Tuned, train: Split, selection: Split, report: Callable[[int, int], None]
    ) -> Training:
        start, head_recipe = encoder_of(recipe.start), head_of(recipe.start)
        head = load_head(head_recipe, self.store)

        def build(trainer: Trainer) -> ImageClassifier | DualEncoder:
            if not trainer.tunes_encoder:
                tower: nn.Module = nn.Identity()
            else:
                tower = copy.deepcopy(self.tower)
                tower.load_state_dict(encoder_state(start, self.held.read))
            if trainer.tunes_text:
                if not isinstance(head_recipe, TextHead):
                    raise InputError(
                        f"{trainer.title} trains the text tower and cannot start from a classifier "
                        "with a trained head: start from the zero-shot classifier"
                    )
                both = copy.deepcopy(self.clip.model)
                both.visual = tower
                return DualEncoder(both, tokenized(self.clip, head_recipe))
            arrays = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
            text = FrozenText(self.clip, self.where) if getattr(trainer, "reads_text", 0) else None
            return ImageClassifier(tower, *arrays, normalizes(recipe), text)

        def stored(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            split = {"train": train, "selection": selection}[name]
            key = features_key(start, split.fingerprint, recipe.trainer.precision)
            features = self.store.read_features(key, split.size)
            if features is None:
                raise MissingOutput(f"features {key} of {split.name}")
            arrays = features, self.opened(split).manifest.first
            x, y = (torch.from_numpy(array).to(self.where) for array in arrays)
            return x, y

        evaluated = self.epoch_accuracy and self._shares(recipe.trainer)
        opened, preprocess = self.opened(train), self.clip.preprocess
        side, labels = input_size(preprocess), opened.manifest.first
        images = TrainImages(opened.images, labels, side, byte_tensor, recipe.seed)
        return Training(
            build=build,
            images=images if recipe.trainer.tunes_encoder else None,
            stored=stored,
            size=train.size,
            classes=len(head.weight),
            seed=recipe.seed,
            key=weights_key(recipe),
            store=self.store,
            device=self.where,
            workers=self._workers(),
            progress=report,
            accuracy=self._accuracy(recipe, selection) if evaluated else None,
            micro_batch=self.micro_batch,
            finish=normalisation(preprocess),
        )

    def _effect(
        self, recipe: Tuned, train: Split, training: Training, history: list[Entry], tuned: State
    ) -> list[str]:
        """Return the signs that a training changed nothing, and searches that ended at an edge."""
        trainer, part = recipe.trainer, train.limited(LOOKED_AT)
        labels = torch.from_numpy(self.opened(part).manifest.labels)
        start = training.build(trainer)
        if isinstance(trainer, GradientTrainer):
            trainer.prepare(start)
        tower = copy.deepcopy(self.tower) if trainer.tunes_encoder else nn.Identity()
        head = tuned["head.weight"], tuned["head.bias"]
        end = ImageClassifier(tower, *head, normalizes(recipe))
        end.load_state_dict({n: t for n, t in tuned.items() if n in end.state_dict()})
        batches: Iterable[Tensor]
        if trainer.tunes_encoder:
            batches = self._evaluated(part)
        else:
            features, first = training.stored("train")
            batches, labels = [features], first.reshape(-1, 1).cpu()
        accuracies = [
            accuracy_in_training(model.to(self.where), batches, labels) for model in (start, end)
        ]
        names = [name for name in tuned if name.startswith("chosen.")]
        edges = chosen_edges(trainer, {n.removeprefix("chosen."): tuned[n].item() for n in names})
        return [*effect_caveats(trainer, train.size, history, accuracies), *edges]

    def _evaluated(self, split: Split) -> Iterable[Tensor]:
        """Return the images of a split in batches, after the evaluation transform."""
        images = EvalImages(self.opened(split).images, evaluation_transform(self.clip.preprocess))
        return image_batches(images, split.size, self.batch_size, self._workers())

    def _accuracy(self, recipe: Tuned, selection: Split) -> Callable[[Model], float] | None:
        """Return what measures the accuracy on the selection split; None if that has no data."""
        if selection.absent:
            return None
        loaded, trainer = self.opened(selection), recipe.trainer
        batches: Iterable[Tensor]
        if trainer.tunes_encoder:
            batches = self._evaluated(selection)
        else:
            start = encoder_of(recipe.start)
            key = features_key(start, selection.fingerprint, trainer.precision)
            self.predict(selection, {key: start})
            if self.ranks > 1:
                distributed.barrier()
            features = self.store.read_features(key, selection.size)
            if features is None:
                raise MissingOutput(f"features {key} of {selection.name}")
            batches = [torch.from_numpy(features)]
        labels = torch.from_numpy(loaded.manifest.labels)
        return partial(accuracy_in_training, batches=batches, labels=labels)

    def find_fisher(self, recipe: Fisher, split: Split) -> None:
        """Estimate and store the Fisher information of a classifier's weights on a split."""
        if self.is_main:
            self._free()
            tower = copy.deepcopy(self.tower)
            tower.load_state_dict(encoder_state(encoder_of(recipe.of), self.held.read))
            head = load_head(head_of(recipe.of), self.store)
            arrays = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
            model = ImageClassifier(tower, *arrays, head.normalize).to(self.where)
            loaded = self.opened(split)
            samples = min(recipe.samples, split.size)
            with self.progress.task("estimate Fisher information", samples) as task:
                found = fisher_information(
                    model,
                    loaded.images,
                    evaluation_transform(self.clip.preprocess),
                    samples,
                    task.advance,
                )
            self._write_weights(weights_key(recipe), found)

    @shared_memory_named()
    def predict(self, split: Split, encoders: Mapping[str, Encoder]) -> None:
        """Compute the missing features of `encoders` ({key: encoder}) on a split."""
        loaded = self.opened(split)
        missing = {key: self.store.blocks(key, split.size) for key in encoders}
        mine = [b for blocks in missing.values() for b in blocks if b % self.ranks == self.rank]
        total = rows_in(mine, split.size)
        label = f"compute features of {split.name} (encoders: {len(encoders)})"
        with self.progress.task(label, total, 1.0) as task:
            started = Stopwatch()
            self.held.keep_only(encoders.values())
            self.clip.model.visual.to(self.where)
            predict_split(
                loaded.images,
                evaluation_transform(self.clip.preprocess),
                self.tower,
                {k: partial(encoder_state, e, self.held.state_of) for k, e in encoders.items()},
                self.store,
                Forward(
                    self.where, self.hardware, self.precision, self.batch_size, self._workers()
                ),
                (self.rank, self.ranks),
                task.advance,
                {key: stored_parts(encoder) for key, encoder in encoders.items()},
            )
            self._timed("forward", total, started)

    def _timed(self, kind: str, images: int, since: Stopwatch) -> None:
        if images > 0:
            self.times.setdefault(kind, []).append(Sample(images, since.seconds()))

    def _free(self) -> None:
        """Leave the memory of the device to what comes next."""
        self.held.keep_only(())
        self.clip.model.to("cpu")
        self.tower.to("cpu")
        torch.cuda.empty_cache()

    def _write_weights(self, key: str, tensors: State, caveats: Sequence[str] = (),
                       history: Sequence[Entry] = ()) -> None:  # fmt: skip
        from safetensors.torch import save

        facts = {"device": self.hardware, "caveats": json.dumps(list(caveats))}
        facts |= {"note": json.dumps({"history": history})} if history else {}
        arrays = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        self.store.write("weights", key, save(arrays, metadata=facts))

    def _workers(self) -> int:
        """Return the number of decoding processes: for a GPU the cores of this process, up to 8."""
        if self.workers is not None:
            return self.workers
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", self.ranks))
        return 0 if self.where.type == "cpu" else max(1, min(8, core_count() // beside))


@dataclass(frozen=True)
class _Alone(Training):
    """What a trainer gets that one of several processes runs alone."""

    def descend(self, trainer: GradientTrainer) -> dict[str, Tensor]:
        raise CellError(
            f"{trainer.title}: in several processes only a GradientTrainer can use the SGD loop to "
            "train a head: start one process"
        )


def _rate_name(trainer: Trainer) -> str:
    """Return the kind of training for rates: training both towers takes longer than one."""
    return "train both" if trainer.tunes_text else "train"
