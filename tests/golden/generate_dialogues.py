#!/usr/bin/env python3
"""dialogues/dialogues.json: conversations as Transformers reads them.

Small tokenizers of the kinds that models come with (byte-level as Llama 3's and Qwen2's, SentencePiece-like in four forms, marks that are added but
not special), each as the files of a model folder, with chat templates as they are published in kind. Of each folder and several conversations: the
prompt's tokens (`apply_chat_template` with a generation prompt), the whole conversation's, and which of these are targets: those that have characters
of a response, by the tokenizer's offsets or the template's generation blocks, up to the mark that ends it. Text is tokenised around each image,
which is -1. `decoded`: the text of token sequences, bytes that are no character among them.
Needs transformers 5.24 and tokenizers.

usage: generate_dialogues.py [FOLDER]
"""
import json
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
TEXTS = ["the small cat sleeps on a red mat", "what do you see here?", "three green apples and one pear, 42 in all",
         "you are a careful helper", "it is blue", "look at the picture: a house by the sea", "user assistant system think"] * 4
LLAMA3_MARKS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHATML_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level(marks, special=True, bos=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken(m, special=special or m in CHATML_MARKS[:1], normalized=False) for m in marks])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return json.loads(tokenizer.to_str())


def sentence_piece(legacy):
    names = ["<unk>", "<s>", "</s>"]
    learner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=names + [f"<0x{i:02X}>" for i in range(256)], show_progress=False)
    learner.train_from_iterator(TEXTS, trainer)
    parts = json.loads(learner.to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] in names]
    if legacy:
        parts["normalizer"] = json.loads(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]).__getstate__())
        parts["pre_tokenizer"] = None
    else:
        parts["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    parts["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]}
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return json.loads(tokenizer.to_str())


INST = ("{% for m in messages %}{% if m.role == 'system' %}{% elif m.role == 'user' %}{{ bos_token ~ '[INST] ' ~ m.content|trim ~ ' [/INST]' }}"
        "{% else %}{{ ' ' ~ m.content|trim ~ ' ' ~ eos_token }}{% endif %}{% endfor %}")
ZEPHYR = ("{% for m in messages %}{{ '<|' ~ m.role ~ '|>\r\n' ~ m.content ~ eos_token ~ '\r\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")
VICUNA = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content + ' ' }}{% elif m.role == 'user' %}"
          "{{ 'USER: ' + m.content + ' ' }}{% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
LLAMA3 = ("{{ bos_token }}{% if tools is not none or documents is not none %}TOOLS{% endif %}{% for m in messages %}<|start_header_id|>{{ m.role }}"
          "<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
          "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}")
BLOCKS = ("{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{% if m.role == 'assistant' %}"
          "{%- generation %}{{ m.content }}<|eot_id|>{% endgeneration %}{% else %}{{ m.content }}<|eot_id|>{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}")
# History drops what was thought, and asks for an answer with more than history shows.
THINKING = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}{% elif m.role == 'assistant' %}"
            "<|assistant|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}")
# A last mark that only whole conversations have, as Phi-3's.
ENDED = ("{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
STERN = "{% if messages[0].role != 'system' %}{{ raise_exception('a system turn is needed') }}{% endif %}" + LLAMA3
CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA2_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
LLAMA3_NAMES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
LLAMA, QWEN2 = {"model_type": "llama"}, {"model_type": "qwen2"}


def folders():
    """By name: the tokenizer, its settings, the model's configuration, the map of special tokens."""
    sets = {"l3": byte_level(LLAMA3_MARKS, bos="<|begin_of_text|>"), "chatml": byte_level(CHATML_MARKS), "plain": byte_level(CHATML_MARKS, special=False),
            "legacy": sentence_piece(True), "first": sentence_piece(False)}
    made = {}
    for kind in ("legacy", "first"):
        for name, template in (("inst", INST), ("zephyr", ZEPHYR), ("vicuna", VICUNA)):
            made[f"{kind}-{name}"] = (kind, {**LLAMA2_NAMES, "chat_template": template}, LLAMA, None)
    made["class-inst"] = ("legacy", {**LLAMA2_NAMES, "chat_template": INST, "tokenizer_class": "LlamaTokenizer", "add_bos_token": False}, LLAMA, None)
    made["class-zephyr"] = ("legacy", {"chat_template": ZEPHYR, "tokenizer_class": "LlamaTokenizerFast", "legacy": True}, LLAMA, None)
    made["mistral-zephyr"] = ("legacy", {**LLAMA2_NAMES, "chat_template": ZEPHYR, "tokenizer_class": "LlamaTokenizer"}, {"model_type": "mistral"}, None)
    made["map-inst"] = ("legacy", {"chat_template": INST}, LLAMA, {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}})
    for name, template in (("llama3", LLAMA3), ("blocks", BLOCKS), ("thinking", THINKING), ("stern", STERN)):
        made[f"l3-{name}"] = ("l3", {**LLAMA3_NAMES, "chat_template": template}, LLAMA, None)
    made["l3-ended"] = ("l3", {**LLAMA3_NAMES, "eos_token": "<|end_of_text|>", "chat_template": ENDED}, LLAMA, None)
    made["l3-added"] = ("l3", {**LLAMA3_NAMES, "pad_token": "[PAD]", "chat_template": LLAMA3 + "{{ pad_token }}"}, LLAMA, None)
    made["chatml"] = ("chatml", {"eos_token": "<|im_end|>", "chat_template": CHATML}, LLAMA, None)
    made["chatml-qwen2"] = ("chatml", {"eos_token": "<|im_end|>", "chat_template": CHATML, "tokenizer_class": "Qwen2Tokenizer"}, QWEN2, None)
    made["chatml-gpt2"] = ("chatml", {"eos_token": "<|im_end|>", "chat_template": CHATML, "tokenizer_class": "GPT2Tokenizer"}, LLAMA, None)
    made["chatml-plain"] = ("plain", {"eos_token": "<|endoftext|>", "chat_template": CHATML}, LLAMA, None)
    return sets, made


CONVERSATIONS = [
    [("user", "<image>\nwhat do you see?"), ("assistant", "a red cat")],
    [("user", "<image>\nwhat do you see?"), ("assistant", "three apples, 42 in all"), ("user", "and the house?"), ("assistant", "it is\nblue, é猫")],
    [("system", "you are a careful helper"), ("user", "hello"), ("assistant", "<think>look</think> pears")],
]


def tokens(tokenizer, text):
    """Ids and places in the text; -1 for an image."""
    ids, places, base = [], [], 0
    for i, part in enumerate(text.split("<image>")):
        if i:
            ids.append(-1)
            places.append((base, base + 7))
            base += 7
        if part:
            coded = tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
            ids += coded["input_ids"]
            places += [(a + base, b + base) for a, b in coded["offset_mapping"]]
        base += len(part)
    return ids, places


def said(tokenizer, messages, text, settings):
    """Where responses stand in the text, and whether their ends are known, in characters."""
    if "endgeneration" in settings["chat_template"]:
        from transformers.utils.chat_template_utils import render_jinja_template
        _, spans = render_jinja_template([messages], chat_template=settings["chat_template"], return_assistant_tokens_mask=True,
                                         **tokenizer.special_tokens_map)
        return [(a, b, b) for a, b in spans[0]]
    spans, done = [], 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        content = message["content"]
        if "split(" in settings["chat_template"]:
            content = content.split("</think>")[-1]
        content = content.strip()
        prompt = tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True)
        before = tokenizer.apply_chat_template(messages[:i], tokenize=False)
        at = text.index(content, max(done, len(prompt) if text.startswith(prompt) else len(before) if text.startswith(before) else done))
        following = messages[i + 1]["content"] if i + 1 < len(messages) else None
        limit = text.index(following, at) if following else len(text)
        spans.append((len(prompt) if text.startswith(prompt) else at, at + len(content), limit))
        done = at + len(content)
    return spans


def targets(tokenizer, spans, ids, places):
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    added = set(tokenizer.added_tokens_decoder)
    marks = [False] * len(ids)
    for start, end, limit in spans:
        first = next(k for k, (a, b) in enumerate(places) if b > start or a == b >= start)
        tail = [k for k, (a, b) in enumerate(places) if end <= a < min(b, limit)]
        ends = [k for k in tail if ids[k] in special] or [k for k in tail if ids[k] in added]
        after = [k for k, (a, b) in enumerate(places) if a >= end and a < b]
        last = ends[0] + 1 if ends else (after[0] if after else len(ids))
        for k in range(first, last):
            marks[k] = True
    return marks


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    sets, made = folders()
    record = {"tokenizers": sets, "folders": {}}
    for name, (kind, settings, config, names) in made.items():
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
        files = {"tokenizer_config.json": settings, "config.json": config}
        if names:
            files["special_tokens_map.json"] = names
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {"tokenizer.json": sets[kind], **files}.items():
                (Path(folder) / file).write_text(json.dumps(content))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            cases = []
            for conversation in CONVERSATIONS:
                messages = [{"role": role, "content": text} for role, text in conversation]
                if name == "l3-stern" and messages[0]["role"] != "system":
                    continue
                text = tokenizer.apply_chat_template(messages, tokenize=False)
                prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
                ids, places = tokens(tokenizer, text)
                cases.append({"turns": conversation, "prompt": tokens(tokenizer, prompt)[0], "ids": ids,
                              "targets": targets(tokenizer, said(tokenizer, messages, text, settings), ids, places)})
            byte = lambda x: tokenizer.convert_tokens_to_ids(f"<0x{x:02X}>")  # noqa: E731
            lists = [cases[-1]["ids"][-6:], [i for i in cases[0]["ids"] if i >= 0]]
            if kind in ("legacy", "first"):
                the, cat = tokenizer.convert_tokens_to_ids("▁the"), tokenizer.convert_tokens_to_ids("▁cat")
                lists += [[the, byte(10), byte(0xF0), byte(0x9F), cat], [byte(0x6A), byte(0xC3), cat], [cat, byte(10)] * 40, [byte(0xE7), byte(0x8C)],
                          [byte(10), byte(0xF0), byte(0x9F), byte(0x9A), byte(0xB2), cat]]
            decoded = [[ids, tokenizer.decode(ids, skip_special_tokens=True)] for ids in lists]
            record["folders"][name] = {"tokenizer": kind, "files": files, "cases": cases, "bos": tokenizer("")["input_ids"][:1], "decoded": decoded}
    (out / "dialogues").mkdir(exist_ok=True)
    (out / "dialogues/dialogues.json").write_text(json.dumps(record, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
