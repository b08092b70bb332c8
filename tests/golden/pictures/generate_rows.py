"""rows.safetensors: what Transformers' image towers make of every picture in `files`, from the file to the row.

    pip install pillow==13.0.0 transformers==5.24.0 numpy torch torchvision safetensors
    python generate_rows.py

For tiny random models of `../encoders`, float32: `exif_transpose`, the Pillow-backed image processor, `get_image_features`. One tensor for each model,
[files, width], files sorted by name; `rows.json` has each model's `preprocessor_config.json`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from transformers import AutoModel, CLIPImageProcessorPil, SiglipImageProcessorPil

HERE = Path(__file__).parent
MODELS = {
    "clip_quick": CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42}),
    "clip_gelu": CLIPImageProcessorPil(size={"shortest_edge": 25}, crop_size={"height": 22, "width": 22}),
    "siglip": SiglipImageProcessorPil(size={"height": 42, "width": 42}),
    "siglip2": SiglipImageProcessorPil(size={"height": 22, "width": 22}, resample=2),
}


def picture(path):
    found = ImageOps.exif_transpose(Image.open(path))
    if found.mode.startswith("I"):
        # As generate_pictures.py has it: Pillow clips 16-bit grey to white.
        found = Image.fromarray((np.array(found) >> 8).astype(np.uint8))
    return found


rows, configs = {}, {}
for name, processor in MODELS.items():
    model = AutoModel.from_pretrained(HERE.parent / "encoders" / name, dtype=torch.float32).eval()
    made = []
    for path in sorted((HERE / "files").iterdir()):
        pixels = torch.tensor(np.array(processor(images=picture(path))["pixel_values"]), dtype=torch.float32)
        with torch.no_grad():
            found = model.get_image_features(pixel_values=pixels)
        made.append(getattr(found, "pooler_output", found)[0])
    rows[name] = torch.stack(made).contiguous()
    configs[name] = json.loads(processor.to_json_string())
save_file(rows, HERE / "rows.safetensors")
(HERE / "rows.json").write_text(json.dumps(configs, indent=1, sort_keys=True) + "\n")
