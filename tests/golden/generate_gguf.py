#!/usr/bin/env python3
"""gguf/: tiny GGUF files and what Transformers makes of them.

`types.gguf` has one tensor of each type that is read, random blocks, and `types.safetensors` the same numbers as the package `gguf` dequantises
them, under the names that a model's folder has. `llama.gguf` (Q8_0, Q4_0 and F16 beside F32; rows of q and k as llama.cpp pairs them; tied)
and `qwen2.gguf` (BF16, Q5_1, biases; an output matrix) are models of two layers with tokenizer and template; `NAME.logits` in
`models.safetensors` are the logits of the ids `NAME.ids` by Transformers' own loader of GGUF files in float32. `tokenizer_KIND.gguf` hold a
tokenizer alone. `expected.json`: for each, texts and their ids by Transformers' tokenizer from the same file, without and with the tokens that
begin a text, and conversations as the template writes them. `names.json`: for each architecture, the names of a model's tensors in
Transformers and in llama.cpp's files, by the map of the package `gguf`. `quantized.safetensors`: `numbers`, and `q8_0`, what the package makes of them. Where Transformers does not know how a vocabulary cuts its texts (`smollm`:
each digit by itself), the ids are of the same vocabulary under the published pre-tokenizer.
Needs torch, transformers, accelerate, tokenizers, gguf, safetensors, numpy.

usage: generate_gguf.py [FOLDER]
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "gguf"
RANDOM = np.random.default_rng(8)
CORPUS = ["the quick brown fox isn't here, it's there; we'll see 1234 of them in 2024", "a picture of a red bicycle on the street",
          "What is in the image? The image shows a dog and the cat.", "  indented code:\n\n\tfor i in range(10):\n        print(i)",
          "naïve café, déjà vu, Größe, 東京の猫", "user assistant system"] * 3
TEXTS = ["the image", " the image ", "It'S here, we'll see\r\n\r\n  3 of 12345 dogs\t!", "naïve “quotes” 東京 🎉", "a\u00a0b   c\n", "",
         "<|im_start|>user\nthe cat<|im_end|>\n", "<s>[INST] a red bicycle [/INST] <think> x</s>", "x <|begin_of_text|> y"]
CHATS = [[{"role": "user", "content": "What is in the image?"}],
         [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the 12 dogs"},
          {"role": "assistant", "content": "a cat"}, {"role": "user", "content": " why? "}]]
CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
INST = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
        "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>"]


def random_blocks(kind, rows, width):
    """Blocks of random bits, but for the scales, which are moderate numbers."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = RANDOM.integers(0, 256, (rows * width // block, size), dtype=np.uint8)
    halves = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2],
              T.Q5_K: [0, 2], T.Q6_K: [208]}
    for at in halves[kind]:
        raw[:, at : at + 2] = RANDOM.normal(0, 0.1, len(raw)).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return raw.reshape(rows, -1)


def types():
    writer = gguf.GGUFWriter(HERE / "types.gguf", "qwen2")
    expected = {}
    kinds = [T.F32, T.F16, T.BF16, T.F64, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]
    for layer, kind in enumerate(kinds):
        name, theirs = f"blk.{layer}.ffn_up.weight", f"model.layers.{layer}.mlp.up_proj.weight"
        numbers = RANDOM.normal(0, 1, (2, 256)).astype(np.float32)
        if kind == T.F64:
            writer.add_tensor(name, numbers.astype(np.float64))
            expected[theirs] = numbers
        elif kind in (T.F32, T.F16, T.BF16):
            raw = gguf.quants.quantize(numbers, kind)
            writer.add_tensor(name, raw, raw_dtype=kind)
            expected[theirs] = gguf.quants.dequantize(raw, kind).reshape(2, 256)
        else:
            raw = random_blocks(kind, 2, 256)
            writer.add_tensor(name, raw, raw_dtype=kind)
            expected[theirs] = gguf.quants.dequantize(raw, kind)
    close(writer)
    save_file(expected, HERE / "types.safetensors")


def names():
    """Transformers' names to the files', of a model of one layer."""
    out = {}
    for kind in ["llama", "qwen2", "qwen3", "gemma3_text", "phi3", "smollm3", "olmo2", "granite"]:
        config = AutoConfig.for_model(kind, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, head_dim=8,
                                      num_key_value_heads=2, vocab_size=40, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                                      tie_word_embeddings=False)
        with torch.device("meta"):
            state = AutoModelForCausalLM.from_config(config).state_dict()
        architecture = kind.removesuffix("_text")
        key = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
        table = gguf.get_tensor_name_map(key, 1)
        parts = [name.rsplit(".", 1) for name in state]
        out[architecture] = {f"{stem}.{part}": f"{table.get_name(stem)}.{part}" for stem, part in parts}
    (HERE / "names.json").write_text(json.dumps(out, indent=0) + "\n")


def quantized():
    numbers = RANDOM.normal(0, 1, (5, 64)).astype(np.float32)
    numbers[0, 32:] = 0
    # Halves, and the largest number of a block negative.
    numbers[1, :32] = np.arange(32) - 31.5
    numbers[2, :32] = np.arange(32) * 0.5 - 127 / 2
    save_file({"numbers": numbers, "q8_0": gguf.quants.quantize(numbers, T.Q8_0)}, HERE / "quantized.safetensors")


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level(size, pre_tokenizer=None):
    """Tokens in order of their ids, types, merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL,
                                  show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get) + ["<think>"]
    kinds = [3 if t in SPECIAL else 4 if t == "<think>" else 1 for t in tokens]
    return tokens, kinds, [" ".join(m) for m in model["merges"]]


def sentence_piece(size, spaces=False):
    """Tokens in order of their ids, types, scores."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    learnt = ["".join(m) for m in model["merges"]]
    single = [t for t in sorted(model["vocab"], key=model["vocab"].get) if t not in special and t not in learnt]
    runs = ["  ", "    "] if spaces else []
    tokens = special + [f"<0x{b:02X}>" for b in range(256)] + runs + learnt + single + ["<think>"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(runs) + len(learnt) + len(single)) + [4]
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    return tokens, kinds, scores


def add_tokenizer(writer, model, pre, vocabulary, named, template, flags=()):
    tokens, kinds, rest = vocabulary
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    (writer.add_token_merges if model == "gpt2" else writer.add_token_scores)(rest)
    for name, token in named.items():
        getattr(writer, f"add_{name}_token_id")(tokens.index(token))
    for flag, value in flags:
        getattr(writer, flag)(value)
    if template:
        writer.add_chat_template(template)


def digits(tokens, kinds, merges):
    """The published tokenizer of SmolLM2 over a vocabulary."""
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, k in zip(tokens, kinds) if k == 3])
    tokenizer.add_tokens([t for t, k in zip(tokens, kinds) if k == 4])
    return tokenizer


def expect(name, chats=CHATS, instead=None):
    tokenizer = AutoTokenizer.from_pretrained(HERE, gguf_file=f"{name}.gguf")
    plain = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in TEXTS]
    if instead is not None:
        plain = [instead.encode(t, add_special_tokens=False).ids for t in TEXTS]
    entry = {"texts": TEXTS, "ids": plain, "begins": tokenizer("the")["input_ids"][0] if tokenizer.add_bos_token else None,
             "decoded": [tokenizer.decode(ids, skip_special_tokens=True) for ids in plain]}
    if tokenizer.chat_template:
        entry["chats"] = [{"messages": chat, "text": tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)}
                          for chat in chats]
    return entry


def tokenizers():
    chatml = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
    llama3 = {"bos": "<|begin_of_text|>", "eos": "<|im_end|>"}
    spm = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
    expected = {}
    # Vocabularies whose merges have several digits, so that the cuts show.
    table = [("gpt-2", "gpt2", 400, chatml, CHATML, []), ("default", "gpt2", 300, chatml, None, []), ("qwen2", "gpt2", 400, chatml, CHATML, []),
             ("llama-bpe", "gpt2", 400, llama3, CHATML, [("add_add_bos_token", True)]), ("smollm", "gpt2", 400, chatml, CHATML, []),
             ("tekken", "gpt2", 340, llama3, None, [("add_add_bos_token", True)]), ("gpt-4o", "gpt2", 340, chatml, None, [])]
    for pre, model, size, named, template, flags in table:
        name = f"tokenizer_{pre}"
        vocabulary = byte_level(size)
        writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
        add_tokenizer(writer, model, pre, vocabulary, named, template, flags)
        close(writer)
        expected[name] = expect(name, instead=digits(*vocabulary) if pre == "smollm" else None)
    for kind, architecture, spaces in [("spm", "llama", False), ("spm_phi3", "phi3", False), ("spm_gemma", "gemma3", True)]:
        name = f"tokenizer_{kind}"
        writer = gguf.GGUFWriter(HERE / f"{name}.gguf", architecture)
        flags = [("add_add_space_prefix", not spaces), ("add_add_bos_token", True)]
        add_tokenizer(writer, "llama", "default", sentence_piece(330, spaces), spm, INST, flags)
        close(writer)
        expected[name] = expect(name)
    return expected


def permute(rows, heads):
    """llama.cpp's order of the rows of q and k."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def model(name, kinds):
    hidden, inner, heads, kv_heads, head, layers = 32, 64, 4, 2, 8, 2
    vocabulary = byte_level(300)
    size = len(vocabulary[0])
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", name)
    writer.add_name(f"tiny {name}")
    writer.add_vocab_size(size)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_rope_freq_base(5000.0)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if name == "llama":
        writer.add_rope_dimension_count(head)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    add_tokenizer(writer, "gpt2", "qwen2", vocabulary, {"bos": "<|endoftext|>", "eos": "<|im_end|>"}, CHATML)
    turn = iter(kinds * 100)

    def matrix(label, rows, columns, change=lambda x: x):
        numbers = RANDOM.normal(0, 1 / np.sqrt(columns), (rows, columns)).astype(np.float32)
        kind = next(turn)
        writer.add_tensor(label, gguf.quants.quantize(change(numbers), kind), raw_dtype=kind)

    def vector(label, numbers):
        writer.add_tensor(label, numbers.astype(np.float32))

    matrix("token_embd.weight", size, hidden)
    for layer in range(layers):
        label = lambda part: f"blk.{layer}.{part}"  # noqa: E731
        paired = lambda count: (lambda x: permute(x, count)) if name == "llama" else (lambda x: x)  # noqa: E731
        vector(label("attn_norm.weight"), RANDOM.normal(1, 0.2, hidden))
        matrix(label("attn_q.weight"), heads * head, hidden, paired(heads))
        matrix(label("attn_k.weight"), kv_heads * head, hidden, paired(kv_heads))
        matrix(label("attn_v.weight"), kv_heads * head, hidden)
        if name == "qwen2":
            for part, rows in [("attn_q", heads * head), ("attn_k", kv_heads * head), ("attn_v", kv_heads * head)]:
                vector(label(f"{part}.bias"), RANDOM.normal(0, 0.3, rows))
        matrix(label("attn_output.weight"), hidden, heads * head)
        vector(label("ffn_norm.weight"), RANDOM.normal(1, 0.2, hidden))
        matrix(label("ffn_gate.weight"), inner, hidden)
        matrix(label("ffn_up.weight"), inner, hidden)
        matrix(label("ffn_down.weight"), hidden, inner)
    vector("output_norm.weight", RANDOM.normal(1, 0.2, hidden))
    if name == "qwen2":
        matrix("output.weight", size, hidden)
    close(writer)
    loaded = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=f"{name}.gguf", dtype=torch.float32).eval()
    ids = RANDOM.integers(0, size, (2, 11))
    with torch.no_grad():
        logits = loaded(torch.tensor(ids)).logits.numpy()
    return {f"{name}.ids": ids.astype(np.int32), f"{name}.logits": logits.astype(np.float32)}


def main():
    HERE.mkdir(exist_ok=True)
    types()
    expected = tokenizers()
    numbers = model("llama", [T.Q8_0, T.Q4_0, T.F16]) | model("qwen2", [T.BF16, T.Q5_1, T.Q8_0])
    save_file(numbers, HERE / "models.safetensors")
    for name in ["llama", "qwen2"]:
        expected[name] = expect(name)
    names()
    quantized()
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
