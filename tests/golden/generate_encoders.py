#!/usr/bin/env python3
"""encoders/NAME/: tiny random encoders as `save_pretrained` writes them, and what Transformers computes of them in float64.

A folder holds config.json, model.safetensors and, where there is a text tower, the tokenizer's files; `expected.safetensors` has pixels (float32) and
features (float64) of images and texts, `expected.json` the texts and their tokens. Transformers computes softmax in float32 whatever the model's type;
here its float32 is float64. Folders of sentence-transformers are put together by hand, their pooling and dense layers computed here by their
definition. Needs torch, transformers, tokenizers, safetensors.

usage: generate_encoders.py [NAME ...]
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

FLOAT32 = torch.float32
torch.set_default_dtype(torch.float64)
import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

torch.float = torch.float32 = torch.float64
torch.Tensor.float = torch.Tensor.double

OUT = Path(__file__).parent / "encoders"
CORPUS = ["a photo of a cat and a dog", "the quick brown fox jumps over the lazy dog", "two birds sit on a tree in the rain",
          "red green blue yellow", "one two three four five six seven eight nine ten", "it's a cat's life, isn't it?"] * 20
TEXTS = ["a photo of a cat", "", "The quick BROWN fox; it's fast!", "two  birds\n on a tree ", "naïve café — 猫 7", "dog",
         "one two three four five six seven eight nine ten one two three four five six seven eight nine ten one two three four five six seven eight nine ten"]


def weights(model, seed):
    """Random, large enough that no layer is close to linear; every one of them exactly a float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if p.dim() > 1 and "embedding" not in name and "probe" not in name:
                x *= 1.5 / p[0].numel() ** 0.5
            elif "norm" in name.lower() and name.endswith("weight"):
                x = 1 + 0.2 * x
            else:
                x *= 0.4
            p.copy_(x.to(FLOAT32).double())
    return model.eval()


def save(model, folder, dtype=FLOAT32):
    """As save_pretrained writes it, in another type."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    from safetensors.torch import load_file
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v.to(dtype).contiguous() if v.is_floating_point() else v for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.") if dtype != FLOAT32 else "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def pixels(size, count=2, seed=5):
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(FLOAT32).double()


def expected(folder, tensors, texts=None, ids=None):
    out = {k: (v.to(FLOAT32) if k == "pixels" else v).detach().contiguous() for k, v in tensors.items()}
    save_file(out, folder / "expected.safetensors")
    if texts is not None:
        (folder / "expected.json").write_text(json.dumps({"texts": texts, "ids": ids}, ensure_ascii=False) + "\n")


def clip_tokenizer(folder, longest):
    """A byte-level BPE with marks of words' ends, as CLIP's."""
    model = models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token="<|endoftext|>")
    raw = tokenizers.Tokenizer(model)
    raw.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()])
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    raw.train_from_iterator(CORPUS + ["naïve café — 猫 7;!"], trainers.BpeTrainer(vocab_size=190, end_of_word_suffix="</w>", show_progress=False))
    trained = json.loads(raw.to_str())["model"]
    vocabulary = dict(trained["vocab"])
    for mark in ["<|startoftext|>", "<|endoftext|>"]:
        vocabulary[mark] = len(vocabulary)
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[tuple(m) for m in trained["merges"]], model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def siglip_tokenizer(folder, longest, lower):
    """A BPE with bytes to fall back to, as Gemma's."""
    raw = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False))
    trained = json.loads(raw.to_str())["model"]
    vocabulary = dict(trained["vocab"])
    for byte in sorted(set(bytes("".join(TEXTS) + "".join(TEXTS).lower(), "utf-8"))):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    kind = transformers.Siglip2Tokenizer if lower else transformers.GemmaTokenizer
    tokenizer = kind(vocab=vocabulary, merges=[tuple(m) for m in trained["merges"]], model_max_length=longest, padding_side="right", add_bos_token=False, add_eos_token=True)
    eos = vocabulary["<eos>"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", pair="$A <eos> $B <eos>", special_tokens=[("<eos>", eos)])
    tokenizer.save_pretrained(folder)
    again = transformers.AutoTokenizer.from_pretrained(folder)
    assert again("dog").input_ids[-1] == eos, again("dog")
    return again


def bert_tokenizer(folder, longest, lower=True):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=lower)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=130, special_tokens=special, show_progress=False))
    vocabulary = json.loads(raw.to_str())["model"]["vocab"]
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=lower, model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def roberta_tokenizer(folder, longest):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    trained = json.loads(raw.to_str())["model"]
    tokenizer = transformers.RobertaTokenizer(vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]], model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def tokens(tokenizer, texts, **more):
    """Each text by itself, as nothing of padding may matter."""
    return [tokenizer(text, truncation=True, **more).input_ids for text in texts]


def pooled(out):
    return out.pooler_output if hasattr(out, "pooler_output") else out


def halved(model, dtype):
    """With its weights as a file of this type has them."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype).double())
    return model


def both(model, folder, ids, size, dtype=FLOAT32):
    save(model, folder, dtype)
    halved(model, dtype)
    image = pixels(size)
    with torch.no_grad():
        images = pooled(model.get_image_features(pixel_values=image))
        texts = torch.cat([pooled(model.get_text_features(input_ids=torch.tensor([i]))) for i in ids])
    expected(folder, {"pixels": image, "images": images, "texts": texts}, TEXTS, ids)


VISION = dict(hidden_size=40, num_attention_heads=5, intermediate_size=52, num_hidden_layers=2, image_size=42, patch_size=14)
# Patches of 7 do not cover 22 pixels.
FINE = dict(image_size=22, patch_size=7)
TEXT = dict(hidden_size=24, num_attention_heads=3, intermediate_size=36, num_hidden_layers=3, max_position_embeddings=20)


def clip(folder, act, end, projection=20, dtype=FLOAT32, vision=None, text=None, longest=20):
    tokenizer = clip_tokenizer(folder, longest)
    eos = tokenizer.eos_token_id
    text = {**TEXT, "hidden_act": act, "vocab_size": len(tokenizer), "eos_token_id": eos if end is None else end, "bos_token_id": tokenizer.bos_token_id, **(text or {})}
    config = transformers.CLIPConfig(text_config=text, vision_config={**VISION, "hidden_act": act, **(vision or {})}, projection_dim=projection, attn_implementation="eager")
    model = weights(transformers.CLIPModel(config), len(folder.name))
    both(model, folder, tokens(tokenizer, TEXTS), config.vision_config.image_size, dtype)
    return model, tokenizer


def clip_quick(folder):
    clip(folder, "quick_gelu", 2)


def clip_gelu(folder):
    """The newer generation, in f16; an image that patches do not cover, and a tokenizer that is shorter than the positions."""
    clip(folder, "gelu", None, vision=FINE, text={"max_position_embeddings": 26}, longest=17, dtype=torch.float16)


def clip_bfloat(folder):
    clip(folder, "gelu", None, vision=FINE, dtype=torch.bfloat16)


def clip_sparse(folder):
    """Fields that have their class's defaults are left out; heads have an odd width."""
    model, _ = clip(folder, "quick_gelu", None, projection=512,
                    vision=dict(hidden_size=24, num_attention_heads=12, num_hidden_layers=12, image_size=24, patch_size=8, intermediate_size=10),
                    text=dict(hidden_size=24, num_attention_heads=8, num_hidden_layers=12, intermediate_size=10, max_position_embeddings=77), longest=77, dtype=torch.float16)
    config = json.loads((folder / "config.json").read_text())
    for name, kind in [("text_config", transformers.CLIPTextConfig()), ("vision_config", transformers.CLIPVisionConfig())]:
        default = kind.to_dict()
        config[name] = {k: v for k, v in config[name].items() if k not in default or default[k] != v}
    config = {k: v for k, v in config.items() if k in ("text_config", "vision_config", "model_type", "architectures")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    loaded = transformers.CLIPConfig.from_pretrained(folder)
    assert loaded.projection_dim == 512 and loaded.vision_config.num_attention_heads == 12 and loaded.text_config.num_hidden_layers == 12


def clip_image(folder):
    """CLIPVisionModelWithProjection."""
    config = transformers.CLIPVisionConfig(**{**VISION, **FINE}, hidden_act="gelu", projection_dim=28, attn_implementation="eager")
    model = halved(weights(transformers.CLIPVisionModelWithProjection(config), 3), torch.float16)
    save(model, folder, torch.float16)
    with torch.no_grad():
        expected(folder, {"pixels": pixels(22), "images": model(pixel_values=pixels(22)).image_embeds})


def clip_text(folder):
    """CLIPTextModelWithProjection."""
    tokenizer = clip_tokenizer(folder, 20)
    config = transformers.CLIPTextConfig(**TEXT, hidden_act="quick_gelu", projection_dim=28, vocab_size=len(tokenizer), eos_token_id=2, bos_token_id=0, attn_implementation="eager")
    model = weights(transformers.CLIPTextModelWithProjection(config), 4)
    save(model, folder)
    ids = tokens(tokenizer, TEXTS)
    with torch.no_grad():
        expected(folder, {"texts": torch.cat([model(input_ids=torch.tensor([i])).text_embeds for i in ids])}, TEXTS, ids)


def siglip_of(folder, lower, vision, text, longest):
    tokenizer = siglip_tokenizer(folder, longest, lower)
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": longest, "pad_token_id": tokenizer.pad_token_id, **text}
    config = transformers.SiglipConfig(text_config=text, vision_config={**VISION, **vision}, attn_implementation="eager")
    model = weights(transformers.SiglipModel(config), len(folder.name))
    ids = tokens(tokenizer, TEXTS, padding="max_length", max_length=longest)
    assert all(len(i) == longest for i in ids), [len(i) for i in ids]
    both(model, folder, ids, config.vision_config.image_size, torch.float16)


def siglip(folder):
    siglip_of(folder, False, {}, {}, 16)


def siglip2(folder):
    """Text in lower case, another width behind the text's head, heads of an odd width."""
    siglip_of(folder, True, dict(FINE, hidden_size=36, num_attention_heads=4), dict(projection_size=36), 64)


def sentence(folder, model, tokenizer, pool, texts, longest, dense=None, normalize=True, prompts=None, lower=False, dtype=FLOAT32):
    save(model, folder, dtype)
    name = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
              {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    width = model.config.hidden_size if hasattr(model.config, "hidden_size") else model.config.dim
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {field: mode == pool for mode, field in name.items()}
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": width, **modes, "pooling_mode_mean_sqrt_len_tokens": False}, indent=1))
    if dense is not None:
        weight, bias = dense
        listed.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
        (folder / "2_Dense").mkdir(exist_ok=True)
        (folder / "2_Dense/config.json").write_text(json.dumps({"in_features": width, "out_features": len(weight), "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}))
        save_file({"linear.weight": weight.to(FLOAT32), "linear.bias": bias.to(FLOAT32)}, folder / "2_Dense/model.safetensors")
    if normalize:
        listed.append({"idx": len(listed), "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"})
    (folder / "modules.json").write_text(json.dumps(listed, indent=1))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest, "do_lower_case": lower}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"__version__": {"sentence_transformers": "5.0.0"}, "prompts": prompts or {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}))
    tensors = {}
    for key, prompt in {"texts": "", **{f"texts_{k}": v for k, v in (prompts or {}).items()}}.items():
        rows = []
        for text in texts:
            text = (prompt + text).strip()
            ids = tokenizer(text.lower() if lower else text, truncation=True, max_length=longest).input_ids
            with torch.no_grad():
                x = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            row = {"cls": lambda: x[0], "mean": lambda: x.mean(0), "max": lambda: x.max(0).values}[pool]()
            if dense is not None:
                row = torch.tanh(dense[0] @ row + dense[1])
            rows.append(row / row.norm() if normalize else row)
        tensors[key] = torch.stack(rows)
    ids = tokens(tokenizer, texts, max_length=longest)
    expected(folder, tensors, texts, ids)


SMALL = dict(num_hidden_layers=2, max_position_embeddings=40, attn_implementation="eager")


def minilm(folder):
    """BERT, the mean, normalised; a text is cut at 12 tokens."""
    tokenizer = bert_tokenizer(folder, 40)
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=30, num_attention_heads=5, intermediate_size=44, **SMALL)
    sentence(folder, weights(transformers.BertModel(config), 7), tokenizer, "mean", TEXTS, 12, prompts={"query": "a photo of: "})


def bert_dense(folder):
    """BERT, the first token, a dense layer with tanh; in lower case before a tokenizer that keeps capitals."""
    tokenizer = bert_tokenizer(folder, 40, lower=False)
    config = transformers.BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=3, intermediate_size=44, hidden_act="gelu_new", **SMALL)
    generator = torch.Generator().manual_seed(8)
    dense = [torch.randn(shape, generator=generator, dtype=torch.float64).to(FLOAT32).double() * 0.25 for shape in [(18, 24), (18,)]]
    sentence(folder, weights(transformers.BertModel(config, add_pooling_layer=False), 8), tokenizer, "cls", TEXTS, 30, dense=dense, normalize=False, lower=True)


def roberta_max(folder):
    """RoBERTa, whose positions begin behind the padding's id, the largest of each column."""
    tokenizer = roberta_tokenizer(folder, 38)
    config = transformers.RobertaConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=3, intermediate_size=44, type_vocab_size=1, pad_token_id=1, **SMALL)
    sentence(folder, weights(transformers.RobertaModel(config), 9), tokenizer, "max", TEXTS, 38, normalize=False)


LONG = " ".join(TEXTS[6].split() * 6)


def mpnet_tokenizer(folder, longest):
    """BERT's words with RoBERTa's marks."""
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    raw = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=130, special_tokens=special, show_progress=False))
    tokenizer = transformers.MPNetTokenizer(vocab=json.loads(raw.to_str())["model"]["vocab"], model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def without_defaults(folder, kind):
    """Fields that have their class's defaults are left out of config.json."""
    config, default = json.loads((folder / "config.json").read_text()), kind.to_dict()
    config = {k: v for k, v in config.items() if k in ("model_type", "architectures") or k not in default or default[k] != v}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def mpnet(folder):
    """MPNet, whose scores have terms by distance, with heads of an odd width; a text of 190 tokens reaches the last kind of distance on either side."""
    tokenizer = mpnet_tokenizer(folder, 190)
    config = transformers.MPNetConfig(vocab_size=len(tokenizer), hidden_size=30, num_hidden_layers=2, num_attention_heads=6, intermediate_size=44, max_position_embeddings=192,
                                      layer_norm_eps=1e-5, attn_implementation="eager")
    model = weights(transformers.MPNetModel(config), 14)
    sentence(folder, model, tokenizer, "mean", TEXTS + [LONG], 190)


def mpnet_sparse(folder):
    """The first token's row; fields that have their class's defaults are left out."""
    tokenizer = mpnet_tokenizer(folder, 40)
    config = transformers.MPNetConfig(vocab_size=len(tokenizer), hidden_size=24, intermediate_size=10, attn_implementation="eager")
    sentence(folder, halved(weights(transformers.MPNetModel(config, add_pooling_layer=False), 15), torch.float16), tokenizer, "cls", TEXTS, 40, normalize=False, dtype=torch.float16)
    without_defaults(folder, transformers.MPNetConfig())
    assert transformers.MPNetConfig.from_pretrained(folder).num_hidden_layers == 12


def xlm_roberta_tokenizer(folder, longest):
    """Pieces of SentencePiece's unigram model."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    raw = tokenizers.Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.train_from_iterator(CORPUS + ["naïve café — 猫 7;!"], trainers.UnigramTrainer(vocab_size=140, special_tokens=special, unk_token="<unk>", show_progress=False))
    vocabulary = [tuple(piece) for piece in json.loads(raw.to_str())["model"]["vocab"]]
    tokenizer = transformers.XLMRobertaTokenizer(vocab=vocabulary + [("<mask>", 0.0)], model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def xlm_roberta(folder):
    """As multilingual E5: XLM-R, the mean, texts behind a prompt by name."""
    tokenizer = xlm_roberta_tokenizer(folder, 38)
    config = transformers.XLMRobertaConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=3, intermediate_size=44, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, **SMALL)
    sentence(folder, weights(transformers.XLMRobertaModel(config), 16), tokenizer, "mean", TEXTS, 38, prompts={"query": "query: "})


def distilbert(folder):
    tokenizer = bert_tokenizer(folder, 40)
    config = transformers.DistilBertConfig(vocab_size=len(tokenizer), dim=24, n_heads=3, hidden_dim=44, n_layers=2, max_position_embeddings=40, attn_implementation="eager")
    sentence(folder, weights(transformers.DistilBertModel(config), 10), tokenizer, "mean", TEXTS, 40)


def plain_tokenizer(folder, longest, end):
    """A byte-level BPE, as decoders have it; with a mark behind each text or without any."""
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=290, special_tokens=["<|end|>"], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if end:
        raw.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 0)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>", model_max_length=longest)
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def decoder_rows(model, tokenizer, texts, longest, both_sides):
    for text in texts:
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=longest).input_ids])
        mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1]) if both_sides else None
        with torch.no_grad():
            yield model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[0]


def decoder_mean(folder):
    """A Llama whose tokens see all others, behind an instruction; the mean, and a projection."""
    tokenizer = plain_tokenizer(folder, 40, True)
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=44, num_hidden_layers=2,
                                      max_position_embeddings=64, attn_implementation="eager")
    model = weights(transformers.LlamaModel(config), 11)
    save(model, folder)
    generator = torch.Generator().manual_seed(12)
    matrix, bias = [torch.randn(shape, generator=generator, dtype=torch.float64).to(FLOAT32).double() * 0.25 for shape in [(18, 24), (18,)]]
    save_file({"proj.weight": matrix.to(FLOAT32), "proj.bias": bias.to(FLOAT32)}, folder / "projection.safetensors")
    texts = [text for text in TEXTS]
    rows = [matrix @ x.mean(0) + bias for x in decoder_rows(model, tokenizer, ["find: " + text for text in texts], 40, True)]
    expected(folder, {"texts": torch.stack(rows)}, texts, tokens(tokenizer, ["find: " + text for text in texts], max_length=40))


def decoder_last(folder):
    """A Qwen3 in a folder of sentence-transformers: the last token's row, divided by its norm."""
    tokenizer = plain_tokenizer(folder, 40, True)
    config = transformers.Qwen3Config(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=2, num_key_value_heads=1, head_dim=16, intermediate_size=44, num_hidden_layers=2,
                                      max_position_embeddings=64, attn_implementation="eager")
    model = weights(transformers.Qwen3Model(config), 13)
    save(model, folder)
    (folder / "modules.json").write_text(json.dumps([{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                                                     for i, (kind, path) in enumerate([("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")])]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 24, "pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False, "include_prompt": True}))
    rows = [x[-1] / x[-1].norm() for x in decoder_rows(model, tokenizer, [text.strip() for text in TEXTS], 40, False)]
    expected(folder, {"texts": torch.stack(rows)}, TEXTS, tokens(tokenizer, [text.strip() for text in TEXTS], max_length=40))


CASES = [clip_quick, clip_gelu, clip_bfloat, clip_sparse, clip_image, clip_text, siglip, siglip2, minilm, bert_dense, roberta_max, xlm_roberta, mpnet, mpnet_sparse, distilbert, decoder_mean, decoder_last]

if __name__ == "__main__":
    chosen = sys.argv[1:]
    for case in CASES:
        if chosen and case.__name__ not in chosen:
            continue
        folder = OUT / case.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        case(folder)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{case.__name__}: {size} bytes")
