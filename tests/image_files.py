"""Small drawn images that can be learned from: shapes in colours, as folders of classes and as tables of paths."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

SHAPES = ("disc", "ring", "square")
COLOURS = {"blue": (40, 60, 230), "red": (230, 40, 40)}
SIDE = 36


def draw(path: Path, shape: str, colour: str, diameter: int, seed: int) -> Path:
    """One shape somewhere on a noisy ground, as a file."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(60, size=(SIDE, SIDE, 3)).astype(np.uint8))
    left, top = random.integers(SIDE - diameter, size=2).tolist()
    box, pen = (left, top, left + diameter, top + diameter), ImageDraw.Draw(image)
    if shape == "square":
        pen.rectangle(box, fill=COLOURS[colour])
    else:
        pen.ellipse(box, fill=COLOURS[colour] if shape == "disc" else None, outline=COLOURS[colour], width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def drawn_rows(folder: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """So many different images in a folder, and what is on each of them."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        shape, colour = str(random.choice(SHAPES)), str(random.choice(list(COLOURS)))
        diameter, name = int(random.integers(12, 24)), f"pictures/{seed}-{number}.png"
        draw(folder / name, shape, colour, diameter, seed * 100_000 + number)
        tags = "|".join(tag for tag, there in (("large", diameter > 17), (colour, True)) if there)
        rows.append({"file": name, "shape": shape, "colour": colour, "share": diameter / SIDE, "tags": tags})
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def class_folders(folder: Path, count: int, seed: int) -> Path:
    """A folder for each shape, with so many images in all."""
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        draw(folder / shape / f"{number}.png", shape, ("blue", "red")[number % 2], 14 + number % 8, seed + number)
    return folder


def save_vision_encoder(folder: Path, size: int = 32) -> str:
    """A tiny ViT with random weights and its image processor, as from the hub."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=size,
        patch_size=8,
    )
    torch.manual_seed(0)
    transformers.ViTModel(config).save_pretrained(folder)
    numbers = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
    processor = transformers.ViTImageProcessorPil(size={"height": size, "width": size}, **numbers)
    processor.save_pretrained(folder)
    return str(folder)
