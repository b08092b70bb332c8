#!/usr/bin/env python3
"""families/NAME.config.json and families/NAME.safetensors: tiny random models of every family and rope type, by Transformers in float64.

Transformers computes norms, rotary embeddings and softmax in float32 whatever the model's type; here its float32 is float64. A file holds
weights under Transformers' names and an adapter in front (`model.mm_projector`); a case of two sequences, each with visual tokens first and computed
alone; logits, negative log-likelihoods, their mean, and its gradients by every parameter and by the embeddings; what `generate` makes greedily, with
its cache, of the first sequence's text; and for some models 30 steps of AdamW of stage 1, stage 2 and with PEFT's low-rank adapters, loss and norm of
the gradient of each. Needs torch, transformers, peft, safetensors.

families/ropes.json: rotary embeddings as Transformers makes them of a `config.json` and a length, and
families/configs.json: what `save_pretrained` writes for each family with its defaults.

usage: generate_families.py [NAME ...]
"""
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

FLOAT32 = torch.float32
torch.set_default_dtype(torch.float64)
import transformers  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

torch.float = torch.float32 = torch.float64
torch.Tensor.float = torch.Tensor.double

OUT = Path(__file__).parent / "families"
VOCABULARY, WIDTH, VISUAL, STEPS = 32, 6, 2, 30
LENGTHS = (12, 5)
RANK, ALPHA = 3, 6

SMALL = dict(vocab_size=VOCABULARY, intermediate_size=20, num_hidden_layers=2, max_position_embeddings=64, rms_norm_eps=1e-5,
             bos_token_id=1, eos_token_id=None, pad_token_id=0, attn_implementation="eager")


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 500.0, **more}


def llama(**more):
    return transformers.LlamaConfig, {**SMALL, "hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 1, **more}


MODELS = {
    "llama_gelu": llama(hidden_size=24, hidden_act="gelu", mlp_bias=True, attention_bias=True),
    "llama_linear": llama(rope_parameters=rope("linear", factor=2.5)),
    "llama_dynamic": llama(rope_parameters=rope("dynamic", factor=3.0), max_position_embeddings=9),
    "llama_yarn": llama(hidden_size=40, num_attention_heads=2, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=8.0)),
    "llama_yarn_scaled": llama(head_dim=20, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.7, mscale_all_dim=0.4, truncate=False)),
    "llama_llama3": llama(rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama_longrope": llama(rope_parameters=rope("longrope", factor=6.0, short_factor=[1.0, 1.2, 1.5], long_factor=[2.0, 3.0, 5.0], original_max_position_embeddings=9)),
    "qwen2_windows": (transformers.Qwen2Config, {**SMALL, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 3,
                                                 "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": (transformers.Qwen3Config, {**SMALL, "hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}),
    "qwen3_windows": (transformers.Qwen3Config, {**SMALL, "hidden_size": 20, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 6, "num_hidden_layers": 3,
                                                 "attention_bias": True, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2, "tie_word_embeddings": True}),
    "mistral": (transformers.MistralConfig, {**SMALL, "hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 20, "sliding_window": 4}),
    "ministral": (transformers.MinistralConfig, {**SMALL, "hidden_size": 22, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 10, "sliding_window": 3,
                                                 "layer_types": ["sliding_attention", "full_attention"]}),
    "gemma3": (transformers.Gemma3TextConfig, {**SMALL, "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "num_hidden_layers": 3,
                                               "sliding_window": 4, "query_pre_attn_scalar": 9, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                                               "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 3000.0},
                                                                   "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}}),
    "gemma3_untied": (transformers.Gemma3TextConfig, {**SMALL, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": False,
                                                      "attention_bias": True, "query_pre_attn_scalar": 16, "layer_types": ["full_attention"] * 2}),
    "phi3": (transformers.Phi3Config, {**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1}),
    "phi3_long": (transformers.Phi3Config, {**SMALL, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 7, "tie_word_embeddings": True,
                                            "original_max_position_embeddings": 9, "partial_rotary_factor": 0.65,
                                            "rope_parameters": {"rope_type": "longrope", "rope_theta": 500.0, "partial_rotary_factor": 0.65,
                                                                "short_factor": [1.0, 1.1, 1.4], "long_factor": [1.5, 2.5, 6.0]}}),
    "smollm3": (transformers.SmolLM3Config, {**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "num_hidden_layers": 3, "no_rope_layer_interval": 2}),
    "smollm3_windows": (transformers.SmolLM3Config, {**SMALL, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 2, "no_rope_layers": [0, 1], "use_sliding_window": True,
                                                     "sliding_window": 4, "tie_word_embeddings": False, "mlp_bias": True, "attention_bias": True}),
    "olmo2": (transformers.Olmo2Config, {**SMALL, "hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 1}),
    "olmo2_biases": (transformers.Olmo2Config, {**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3, "attention_bias": True, "tie_word_embeddings": True}),
    "granite": (transformers.GraniteConfig, {**SMALL, "hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "embedding_multiplier": 5.0, "logits_scaling": 3.0,
                                             "residual_multiplier": 0.22, "attention_multiplier": 0.4, "tie_word_embeddings": True}),
    "granite_biases": (transformers.GraniteConfig, {**SMALL, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 2, "embedding_multiplier": 2.0, "logits_scaling": 0.5,
                                                    "residual_multiplier": 1.5, "attention_multiplier": 0.2, "attention_bias": True, "mlp_bias": True}),
}
TRAINED = ["qwen3_windows", "gemma3", "phi3_long", "granite_biases", "olmo2"]


def normal(shape, seed):
    """Numbers that float32 holds."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(FLOAT32).double()


class Case:
    def __init__(self, name):
        make, fields = MODELS[name]
        self.config = make(**fields)
        self.name = name
        self.hidden = self.config.hidden_size
        model = self.fresh(None)
        self.weights = {}
        for seed, (key, value) in enumerate(model.named_parameters()):
            center = 0.0 if "norm" not in key or "gemma" in name else 1.0
            self.weights[key] = (center + normal(value.shape, seed + 1) * (0.5 if "embed_tokens" in key else 0.3)).to(FLOAT32).double()
        h = self.hidden
        sizes = [("0.weight", (h, WIDTH)), ("0.bias", (h,)), ("2.weight", (h, h)), ("2.bias", (h,))]
        self.adapter = {f"model.mm_projector.{key}": 0.5 * normal(shape, 900 + i) for i, (key, shape) in enumerate(sizes)}
        self.adapter = {key: value.to(FLOAT32).double() for key, value in self.adapter.items()}
        self.embed = normal((len(LENGTHS), WIDTH), 950)
        generator = torch.Generator().manual_seed(7)
        self.ids = torch.randint(2, VOCABULARY, (len(LENGTHS), max(LENGTHS)), generator=generator)
        self.labels = torch.full((len(LENGTHS), VISUAL + max(LENGTHS)), -100)
        for row, length in enumerate(LENGTHS):
            self.labels[row, VISUAL + 1 : VISUAL + length] = self.ids[row, 1:length]

    def fresh(self, weights):
        """A model that has not seen a sequence."""
        model = transformers.AutoModelForCausalLM.from_config(type(self.config).from_dict(self.config.to_dict()), attn_implementation="eager").double().eval()
        if weights is not None:
            missing, unexpected = model.load_state_dict({key: value.detach() for key, value in weights.items()}, strict=False)
            assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
            model.tie_weights()
        return model

    def forward(self, model, adapter, embed, row):
        x = torch.nn.functional.linear(embed[row], adapter["model.mm_projector.0.weight"], adapter["model.mm_projector.0.bias"])
        x = torch.nn.functional.linear(torch.nn.functional.gelu(x), adapter["model.mm_projector.2.weight"], adapter["model.mm_projector.2.bias"])
        text = model.get_input_embeddings()(self.ids[row, : LENGTHS[row]])
        logits = model(inputs_embeds=torch.cat([x.expand(VISUAL, -1), text])[None], use_cache=False).logits[0]
        targets = self.labels[row, 1 : VISUAL + LENGTHS[row]]
        nll = torch.nn.functional.cross_entropy(logits[:-1], targets, ignore_index=-100, reduction="none")
        return logits, nll

    def targets(self):
        return int((self.labels >= 0).sum())

    def reference(self):
        length = VISUAL + max(LENGTHS)
        logits, nll = torch.zeros(len(LENGTHS), length, VOCABULARY), torch.zeros(len(LENGTHS), length - 1)
        adapter = {key: value.clone().requires_grad_() for key, value in self.adapter.items()}
        embed = self.embed.clone().requires_grad_()
        total, gradients = 0.0, {}
        for row, count in enumerate(LENGTHS):
            model = self.fresh(self.weights)
            found, losses = self.forward(model, adapter, embed, row)
            logits[row, : VISUAL + count], nll[row, : VISUAL + count - 1] = found.detach(), losses.detach()
            (losses.sum() / self.targets()).backward()
            total += losses.sum().item()
            for key, value in model.named_parameters():
                gradients[key] = gradients.get(key, 0) + value.grad
        gradients.update((key, value.grad) for key, value in adapter.items())
        tensors = {f"grad.{key}": value for key, value in gradients.items()}
        return {**tensors, "grad_embed": embed.grad, "logits": logits, "nll": nll, "loss": torch.tensor([total / self.targets()])}

    def generated(self):
        model = self.fresh(self.weights)
        model.generation_config.eos_token_id = None
        made = model.generate(self.ids[:1, :5], attention_mask=torch.ones(1, 5, dtype=torch.long), max_new_tokens=10, do_sample=False, use_cache=True)[0, 5:]
        return made.to(torch.int32)

    def train(self, stage):
        """30 steps of AdamW, each sequence with a model of its own that shares the parameters' values."""
        models = [self.fresh(self.weights) for _ in LENGTHS]
        tensors = {}
        if stage == "lora":
            targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"] if "phi3" in self.name else ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            models = [get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, bias="none", target_modules=targets)).double() for model in models]
        names, lists = [], [[] for _ in models]
        for values in zip(*(model.named_parameters() for model in models)):
            key = values[0][0].removeprefix("base_model.model.").replace(".default", "").replace(".base_layer", "")
            if stage == "stage1" or (stage == "lora" and ".lora_" not in key):
                continue
            if stage == "lora":
                start = 0.1 * normal(values[0][1].shape, 1000 + len(names))
                start = start.to(FLOAT32).double()
                tensors[f"lora.{key}"] = start
                for _, value in values:
                    value.data = start.clone()
            names.append(key)
            for held, (_, value) in zip(lists, values):
                held.append(value)
        adapter = {key: value.clone().requires_grad_() for key, value in self.adapter.items()}
        main = lists[0] + list(adapter.values())
        optimizer = torch.optim.AdamW(main, lr=5e-4, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-8)
        steps = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            for held in lists[1:]:
                for value, source in zip(held, lists[0]):
                    value.data, value.grad = source.data.clone(), None
            total = 0.0
            for row, model in enumerate(models):
                inner = model.base_model.model if stage == "lora" else model
                _, losses = self.forward(inner, adapter, self.embed, row)
                (losses.sum() / self.targets()).backward()
                total += losses.sum().item() / self.targets()
            for held in lists[1:]:
                for value, source in zip(held, lists[0]):
                    source.grad = value.grad if source.grad is None else source.grad + value.grad
            steps.append([total, math.sqrt(sum(float((p.grad**2).sum()) for p in main))])
            optimizer.step()
        tensors[f"steps.{stage}"] = torch.tensor(steps)
        return tensors

    def save(self):
        OUT.mkdir(exist_ok=True)
        fields = {key: value for key, value in self.config.to_diff_dict().items() if not key.startswith("_attn")}
        (OUT / f"{self.name}.config.json").write_text(json.dumps({**fields, "dtype": "float32"}, indent=1) + "\n")
        tensors = {**self.weights, **self.adapter, "embed": self.embed, **self.reference()}
        if self.name in TRAINED:
            for stage in ("stage1", "stage2", "lora"):
                tensors.update(self.train(stage))
        exact = ("loss", "nll", "steps")
        tensors = {key: value if key.startswith(exact) else value.to(FLOAT32) for key, value in tensors.items()}
        integers = {"rep": torch.tensor([VISUAL]), "input_ids": self.ids, "labels": self.labels}
        integers["attention_mask"] = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
        tensors.update((key, value.to(torch.int32)) for key, value in integers.items())
        tensors["generated"] = self.generated()
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, OUT / f"{self.name}.safetensors")
        print(self.name, tensors["loss"].item(), tensors["generated"].tolist())


TINY = {"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 32, "pad_token_id": 0}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]}
ROPES = [
    ("llama", {}, [9]),
    ("llama", {"rope_theta": 700.0}, [9]),
    ("llama", {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 70.0}, "rope_theta": 700.0}, [9]),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 70.0}}, [9]),
    ("llama", {"rope_scaling": {}, "rope_parameters": {"rope_type": "linear", "factor": 3.0}, "rope_theta": 700.0}, [9]),
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 333.0}}, [9]),
    ("llama", {"rope_scaling": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}, "rope_theta": 900.0}, [9]),
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 16}, [9, 16, 17, 40]),
    ("llama", {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "original_max_position_embeddings": 32}, "max_position_embeddings": 256}, [9]),
    ("llama", {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "original_max_position_embeddings": 32}, "original_max_position_embeddings": 64}, [9]),
    ("llama", {"rope_scaling": {**LLAMA3, "rope_type": "llama3"}, "max_position_embeddings": 48}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 700.0}, "max_position_embeddings": 64}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16}, "max_position_embeddings": 64}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.3}, "original_max_position_embeddings": 32}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.5, "beta_fast": 16, "beta_slow": 2, "truncate": False}}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "beta_fast": 0, "finetuned": True}}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 0.5}}, [9]),
    ("llama", {"rope_parameters": {"rope_type": "longrope", **LONG, "factor": 4.0, "original_max_position_embeddings": 16}}, [9, 16, 17]),
    ("llama", {"rope_parameters": {"rope_type": "longrope", **LONG, "attention_factor": 1.25}, "max_position_embeddings": 20}, [9, 20, 21]),
    ("llama", {"rope_parameters": {"rope_type": "longrope", **LONG, "original_max_position_embeddings": 16}, "original_max_position_embeddings": 10}, [9, 11]),
    ("llama", {"head_dim": 16, "rope_theta": 700.0}, [9]),
    ("qwen2", {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, "max_position_embeddings": 131072}, [9]),
    ("qwen2", {}, [9]),
    ("qwen3", {"head_dim": 12}, [9]),
    ("qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, "rope_theta": 1e6}, [9]),
    ("mistral", {"rope_theta": 1e6}, [9]),
    ("ministral", {"head_dim": 12}, [9]),
    ("gemma3_text", {"head_dim": 12}, [9]),
    ("gemma3_text", {"head_dim": 12, "rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}, [9]),
    ("gemma3_text", {"head_dim": 12, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 77.0}}, "rope_theta": 5e4}, [9]),
    ("gemma3_text", {"head_dim": 12, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}}, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}, [9]),
    ("gemma3_text", {"head_dim": 12, "rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}, "sliding_attention": None}}, [9]),
    ("phi3", {}, [9]),
    ("phi3", {"rope_scaling": {"type": "su", **LONG, "original_max_position_embeddings": 32}, "original_max_position_embeddings": 16, "max_position_embeddings": 64}, [9, 17]),
    ("phi3", {"rope_scaling": {"type": "yarn", **LONG, "original_max_position_embeddings": 16}, "max_position_embeddings": 131072}, [9, 4097]),
    ("phi3", {"rope_scaling": {"type": "longrope", "short_factor": LONG["short_factor"][:4], "long_factor": LONG["long_factor"][:4]}, "partial_rotary_factor": 0.7, "max_position_embeddings": 131072,
              "original_max_position_embeddings": 4096, "rope_theta": 1e4}, [9, 4096, 4097]),
    ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}, "partial_rotary_factor": 0.75}, [9]),
    ("phi3", {"partial_rotary_factor": 0.6}, [9]),
    ("smollm3", {}, [9]),
    ("smollm3", {"rope_theta": 5e6, "rope_scaling": None}, [9]),
    ("olmo2", {}, [9]),
    ("granite", {"rope_theta": 1e7}, [9]),
]


def ropes():
    made = []
    for kind, fields, lengths in ROPES:
        config = {"model_type": kind, **TINY, **fields}
        for length in lengths:
            model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**json.loads(json.dumps(config))))
            rotary, x = model.model.rotary_emb.double(), torch.zeros(1, length, 4)
            kinds = ["full_attention", "sliding_attention"] if kind == "gemma3_text" else [None]
            for layer_type in kinds:
                if layer_type and layer_type not in rotary.layer_types:
                    # Both types have their frequencies, whichever layers there are.
                    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**json.loads(json.dumps(config)), layer_types=["sliding_attention", "full_attention"]))
                    rotary = model.model.rotary_emb.double()
                rotary(x, torch.arange(length)[None], *([layer_type] if layer_type else []))
                prefix = f"{layer_type}_" if layer_type else ""
                frequencies, amplitude = getattr(rotary, f"{prefix}inv_freq"), getattr(rotary, f"{prefix}attention_scaling")
                made.append({"config": config, "length": length, "sliding": layer_type == "sliding_attention", "frequencies": frequencies.tolist(), "amplitude": float(amplitude)})
    (OUT / "ropes.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in made) + "\n]\n")


def configs():
    kinds = ["llama", "qwen2", "qwen3", "mistral", "ministral", "gemma3_text", "phi3", "smollm3", "olmo2", "granite"]
    written = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            transformers.AutoConfig.for_model(kind).save_pretrained(folder)
            written.append(json.loads(Path(folder, "config.json").read_text()))
    (OUT / "configs.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in written) + "\n]\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or [*MODELS, "ropes", "configs"]:
        {"ropes": ropes, "configs": configs}.get(name, lambda: Case(name).save())()
