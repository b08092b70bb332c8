"""What Transformers makes of texts with a sentence-transformers folder, in float64, pooled by its modules' definition.

    python tools/encode_reference.py FOLDER OUT.safetensors [TEXTS.txt]

OUT gets `rows` `[n, d]`, float64, and the texts, a line each, in its notes. Without TEXTS it is a dozen of its own, of every length. The test
`a_real_model_gives_the_rows_of_transformers` of `tests/encoders` reads it: REALIGN_SENTENCE_MODEL=FOLDER REALIGN_SENTENCE_ROWS=OUT. Mean, CLS and
max pooling and the division by the norm; needs torch, transformers, safetensors.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

TEXTS = ["A photo of a cat.", "", "the quick brown fox jumps over the lazy dog", "naïve café — 猫 7", "Two birds\tsit on  a tree.",
         "E = mc^2 😀", "antidisestablishmentarianism", "ONE two Three", "http://example.org/a?b=c&d=e", "word " * 100, "many words, " * 200, "x" * 300]


def main():
    folder, out = map(pathlib.Path, sys.argv[1:3])
    texts = pathlib.Path(sys.argv[3]).read_text().splitlines() if len(sys.argv) > 3 else TEXTS
    modules = [m["type"].rsplit(".", 1)[-1] for m in json.loads((folder / "modules.json").read_text())]
    modes = json.loads((folder / "1_Pooling/config.json").read_text())
    longest = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).double().eval()
    # Some classes compute softmax in float32 whatever the model's type.
    torch.float32 = torch.float64
    rows = []
    for text in texts:
        ids = tokenizer(text.strip(), truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            x = model(**ids).last_hidden_state[0]
        row = x[0] if modes.get("pooling_mode_cls_token") else x.max(0).values if modes.get("pooling_mode_max_tokens") else x.mean(0)
        rows.append(row / row.norm() if "Normalize" in modules else row)
    save_file({"rows": torch.stack(rows)}, out, {"texts": json.dumps(texts)})


if __name__ == "__main__":
    main()
