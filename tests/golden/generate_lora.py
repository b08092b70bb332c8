#!/usr/bin/env python3
"""models/KIND.lora.safetensors: the tiny models with PEFT's low-rank adapters, in float64 with PyTorch.

PEFT's own layers are put into the decoder that `generate_trajectories.py` computes, whose base agrees with the golden cases. Of the samples of
case b (three, one visual token each) and of case c (one, four visual tokens): factors A and B of rank 3, numbers that float32 holds; `grad.b` and
`grad.c`, the gradients of the mean loss of each case by every factor and by the projector; and `steps`, loss and norm of the gradient of 20 steps
of AdamW on case b. PEFT on Transformers' models, which compute partly in float32, is checked to give the same gradients within 1e-4.
Needs torch, transformers, peft, numpy, safetensors, tokenizers.

usage: generate_lora.py [FOLDER]
"""
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from generate_trajectories import HERE, Model

RANK, ALPHA, STEPS, RATE, DECAY = 3, 6, 20, 2e-3, 0.1
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIG = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", target_modules=PROJECTIONS)


class LoraModel(Model):
    """The decoder with PEFT's layers in place of its projections."""

    def __init__(self, kind):
        super().__init__(kind)
        self.root = torch.nn.Module()
        for name, weight in self.weights.items():
            if name.startswith("model.layers.") and name.endswith("proj.weight"):
                self.put(name.removesuffix(".weight"), weight)
        inject_adapter_in_model(CONFIG, self.root)
        self.root.double()
        generator = torch.Generator().manual_seed(3)
        self.factors = {}
        for name, factor in self.root.named_parameters():
            if ".lora_" in name:
                factor.data = (0.1 * torch.randn(factor.shape, generator=generator)).float().double()
                self.factors[name.replace(".default", "")] = factor
        self.trains = dict(self.factors)
        self.trains.update((name, w) for name, w in self.weights.items() if "mm_projector" in name)

    def put(self, name, weight):
        *path, last = name.split(".")
        spot = self.root
        for part in path:
            if not hasattr(spot, part):
                setattr(spot, part, torch.nn.Module())
            spot = getattr(spot, part)
        bias = self.weights.get(name + ".bias")
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.weight.data = weight.detach().clone()
        if bias is not None:
            layer.bias.data = bias.detach().clone()
        setattr(spot, last, layer)

    def linear(self, x, name):
        return self.root.get_submodule(name)(x) if "mm_projector" not in name else super().linear(x, name)


def samples(case):
    """Entries of `Model.nll` and embeddings of a golden case."""
    visual = int(case["rep"][0])
    for row, ids in enumerate(case["input_ids"]):
        count = int(case["attention_mask"][row].sum())
        targets = case["labels"][row][visual : visual + count] >= 0
        words = [(int(token), False, bool(target)) for token, target in zip(ids[:count], targets)]
        yield [(0, True, False)] * visual + words, case["embed"][row].double()


def mean_loss(model, case):
    losses = [model.nll(*sample) for sample in samples(case)]
    return sum(nll for nll, _ in losses) / sum(count for _, count in losses)


def gradients(model, case):
    return dict(zip(model.trains, torch.autograd.grad(mean_loss(model, case), list(model.trains.values()))))


def published(kind, model, case):
    """The factors' gradients by PEFT on Transformers' model, of one sample, without visual tokens; and ours."""
    config, base = {**model.config, "attn_implementation": "eager"}, {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
    make_config, make_model = base[kind]
    theirs = make_model(make_config(**{k: v for k, v in config.items() if k not in ("mm_hidden_size", "model_type")}))
    weights = {name: w.detach() for name, w in model.weights.items() if "mm_projector" not in name}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    theirs = get_peft_model(theirs, CONFIG).double()
    named = {name.removeprefix("base_model.model.").replace(".default", ""): p for name, p in theirs.named_parameters()}
    for name, factor in model.factors.items():
        named[name].data = factor.detach().clone()
    ids = case["input_ids"][0][: int(case["attention_mask"][0].sum())].long()
    loss = theirs(input_ids=ids[None], labels=ids[None]).loss
    found = torch.autograd.grad(loss, [named[name] for name in model.factors])
    nll, count = model.nll([(int(token), False, i > 0) for i, token in enumerate(ids)], case["embed"][0].double())
    return found, torch.autograd.grad(nll / count, list(model.factors.values()))


def main(kind, folder):
    model = LoraModel(kind)
    cases = {name: load_file(HERE / f"models/{kind}.case_{name}.safetensors") for name in "bc"}
    for case in cases.values():
        off = abs(mean_loss(Model(kind), case) - case["loss"].double()).max()
        assert off < 1e-12, f"the base's loss is off by {off}"
    for theirs, ours in zip(*published(kind, model, cases["b"])):
        assert (theirs - ours).norm() < 1e-4 * ours.norm(), "PEFT on Transformers says otherwise"
    tensors = {name: factor.detach().float() for name, factor in model.factors.items()}
    for name, case in cases.items():
        tensors.update((f"grad.{name}.{key}", g.detach()) for key, g in gradients(model, case).items())
    parameters, steps = list(model.trains.values()), []
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = mean_loss(model, cases["b"])
        loss.backward()
        steps.append([loss.item(), torch.cat([p.grad.flatten() for p in parameters]).norm().item()])
        optimizer.step()
    tensors["steps"] = torch.tensor(steps)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / f"{kind}.lora.safetensors")
    print(kind, steps[0], steps[-1])


if __name__ == "__main__":
    for kind in ("llama", "qwen2"):
        main(kind, Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "models")
