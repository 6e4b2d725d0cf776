"""Samples, and reference implementations that follow the definitions literally."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from padseg.metrics import PixelMetrics


def make_sample(images=6, height=24, width=20, seed=0, levels=None):
    """Return float32 scores and bool masks (images, height, width); some images without defect.

    `levels` rounds the scores to that many values, so that ties abound.
    """
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, height, width), dtype=bool)
    for mask in masks[: math.ceil(images * 2 / 3)]:
        for _ in range(generator.integers(1, 5)):
            y, x = generator.integers(0, height - 2), generator.integers(0, width - 2)
            mask[y : y + generator.integers(1, 8), x : x + generator.integers(1, 8)] = True
        mask[0, 0] = True  # one pixel, unless it is touched
    scores = generator.random(masks.shape) ** 4 * 3 - 1 + masks * generator.random(masks.shape)
    if levels:
        scores = np.round(scores * levels) / levels
    return torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(masks)


def label_each(masks):
    """Label each mask on its own, 8-connected, from 1 on."""
    return [ndimage.label(mask, structure=np.ones((3, 3)))[0] for mask in masks.numpy()]


def literal_pro(scores, masks, limit):
    """Per-region overlap at every threshold, region by region."""
    values, background = scores.double().numpy(), ~masks.numpy()
    regions = [
        image[labels == label]
        for image, labels in zip(values, label_each(masks), strict=True)
        for label in range(1, labels.max() + 1)
    ]
    fpr, overlap = [0.0], [0.0]
    for threshold in np.unique(values)[::-1]:
        fpr.append((values[background] >= threshold).mean())
        overlap.append(np.mean([(region >= threshold).mean() for region in regions]))
    fpr, overlap = np.array(fpr), np.array(overlap)
    inside = fpr <= limit
    x = np.append(fpr[inside], limit)
    last = inside.sum() - 1
    if fpr[last] == limit:
        y_limit = overlap[last]
    else:
        part = (limit - fpr[last]) / (fpr[last + 1] - fpr[last])
        y_limit = overlap[last] + part * (overlap[last + 1] - overlap[last])
    return np.trapezoid(np.append(overlap[inside], y_limit), x) / limit


def literal_iap(scores, masks, recall, share=0.5):
    """Instance by instance: its threshold, the precision there, the envelope. (IAP, IAP@recall)."""
    values, defect = scores.double().numpy(), masks.numpy()
    thresholds = []
    for image, labels in zip(values, label_each(masks), strict=True):
        for label in range(1, labels.max() + 1):
            descending = sorted(image[labels == label], reverse=True)
            thresholds.append(descending[math.floor(share * len(descending))])
    thresholds.sort()
    precisions, best = [], 0.0
    for threshold in thresholds:
        found = values >= threshold
        best = max(best, (found & defect).sum() / found.sum())
        precisions.append(best)
    n = len(thresholds)
    recalls = [1 - i / n for i in range(n)]
    first = min(r for r in recalls if r >= recall - 1e-12)
    return sum(precisions) / n, precisions[recalls.index(first)]


def literal_f1(scores, masks):
    values, defect = scores.double().numpy().ravel(), masks.numpy().ravel()
    best = 0.0
    for threshold in np.unique(values):
        found = values >= threshold
        best = max(best, 2 * (found & defect).sum() / (found.sum() + defect.sum()))
    return best


class Literal:
    sample = staticmethod(make_sample)
    label_each = staticmethod(label_each)
    pro = staticmethod(literal_pro)
    iap = staticmethod(literal_iap)
    f1 = staticmethod(literal_f1)


@pytest.fixture(scope="session")
def literal():
    return Literal


@pytest.fixture(scope="session")
def measure():
    def measure(scores, masks, regions=None, batch=None, order=None, max_keys=None, **options):
        """Metrics of a sample as plain numbers; batches of `batch` images in the given order."""
        metric = PixelMetrics(**options)
        if max_keys:
            metric.max_keys, metric.max_buffered = max_keys, 700
        order = list(range(len(scores))) if order is None else order
        batch = batch or len(scores)
        for start in range(0, len(order), batch):
            at = order[start : start + batch]
            metric.update(scores[at], masks[at], None if regions is None else regions[at])
        return {name: float(value) for name, value in metric.compute().items()}

    return measure
