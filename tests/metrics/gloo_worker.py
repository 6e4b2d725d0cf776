"""Several processes: python gloo_worker.py WORLD FOLDER. Not a test by itself.

They compute the metrics of FOLDER/sample.pt in groups of the first 1, 2, ... WORLD processes; each saves
its values as FOLDER/<rank>.pt.
"""

import multiprocessing
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from padseg.metrics import AUPIMO, ImageMetrics, PixelMetrics

# Images of each process, by the number of processes: uneven, and one process without any.
SHARDS = {
    1: [[7, 3, 0, 1, 8, 2, 5, 4, 6]],
    2: [[8, 1, 4, 0, 2, 5, 7], [6, 3]],
    3: [[5], [], [8, 7, 6, 0, 1, 4, 2, 3]],
}


def measure(scores, masks, mine, group, **options):
    pixel, image = PixelMetrics(process_group=group, **options), ImageMetrics(process_group=group)
    aupimo = AUPIMO(0.01, 0.1, process_group=group, **options)
    for metric in (pixel, aupimo) if not options else ():
        metric.max_keys, metric.max_buffered = 300, 1000
    for at in mine:
        pixel.update(scores[at : at + 1], masks[at : at + 1])
        aupimo.update(scores[at : at + 1], masks[at : at + 1])
        image.update(scores[at : at + 1].flatten(1).amax(1), masks[at : at + 1].flatten(1).any(1))
    values = pixel.compute() | image.compute() | {"aupimo": aupimo.compute()}
    again = pixel.compute() | image.compute() | {"aupimo": aupimo.compute()}  # cached: meets nobody
    assert all(values[name] == again[name] for name in values)
    found = {name: float(value) for name, value in values.items()}
    return found, pixel.images_seen, image.images_seen


def main(rank, world, folder):
    warnings.filterwarnings("ignore", message="The ``compute`` method")
    torch.set_num_threads(1)
    store = (folder / "store").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    sample = torch.load(folder / "sample.pt")
    groups = {size: dist.new_group(list(range(size))) for size in SHARDS}
    found = {}
    for size, shards in SHARDS.items():
        if rank < size:
            for options in ({}, {"exact": True}) if size == world else ({},):
                result = measure(*sample, shards[rank], groups[size], **options)
                found[size, bool(options)] = result
    # A flag of one process is raised by all of them.
    metric = PixelMetrics()
    scores, masks = sample
    metric.update(scores, masks)
    if rank == world - 1:
        metric.bad[1] = 5
    try:
        metric.compute()
    except ValueError as error:
        found["error"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    world, folder = int(sys.argv[1]), Path(sys.argv[2])
    # Forked, they need not import everything again.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    ranks = [context.Process(target=main, args=(rank, world, folder)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=200)
        process.kill()
    sys.exit(any(process.exitcode != 0 for process in ranks))
