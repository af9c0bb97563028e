"""The ways to evaluate a `.tflite` that people write by hand: each gives the accuracy."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

Way = Callable[[bytes, np.ndarray, np.ndarray], float]


def evaluate(
    tflite: bytes, x: np.ndarray, y: np.ndarray, *, batch: int = 1, threads: int = 1
) -> int:
    """Returns the number of right answers of one interpreter, in batches."""
    interpreter, size, right = Interpreter(model_content=tflite, num_threads=threads), 0, 0
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for start in range(0, len(x), batch):
        samples = x[start : start + batch]
        if len(samples) != size:
            interpreter.resize_tensor_input(source["index"], samples.shape)
            interpreter.allocate_tensors()
            size = len(samples)
        if source["dtype"] != np.float32:
            scale, zero_point = source["quantization"]
            bounds = np.iinfo(source["dtype"])
            samples = np.clip(np.round(samples / scale) + zero_point, bounds.min, bounds.max)
            samples = samples.astype(source["dtype"])
        interpreter.set_tensor(source["index"], samples)
        interpreter.invoke()
        output = interpreter.get_tensor(target["index"])
        right += int((output.argmax(axis=-1) == y[start : start + batch]).sum())
    return right


def one_by_one(tflite: bytes, x: np.ndarray, y: np.ndarray) -> float:
    """The plain loop: one interpreter, one image at a time."""
    return evaluate(tflite, x, y) / len(x)


def in_batches(batch: int, threads: int) -> Way:
    """One interpreter, in batches, with threads of its own."""

    def way(tflite: bytes, x: np.ndarray, y: np.ndarray) -> float:
        return evaluate(tflite, x, y, batch=batch, threads=threads) / len(x)

    return way


def in_python_threads(batch: int, workers: int) -> Way:
    """An interpreter for each thread, and an equal share of the images."""

    def way(tflite: bytes, x: np.ndarray, y: np.ndarray) -> float:
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            work = functools.partial(evaluate, batch=batch)
            shares = [np.array_split(side, workers) for side in (x, y)]
            return sum(pool.map(work, [tflite] * workers, *shares)) / len(x)

    return way


def in_processes(batch: int, workers: int) -> Way:
    """An interpreter for each forked process, and an equal share of the images."""

    def way(tflite: bytes, x: np.ndarray, y: np.ndarray) -> float:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            work = functools.partial(evaluate, batch=batch)
            shares = [np.array_split(side, workers) for side in (x, y)]
            return sum(pool.starmap(work, zip([tflite] * workers, *shares, strict=True))) / len(x)

    return way


def all_ways(cores: int) -> dict[str, Way]:
    """Every way, by what it does."""
    ways: dict[str, Way] = {"one by one": one_by_one}
    for batch in (16, 32, 64):
        ways[f"batches of {batch}"] = in_batches(batch, 1)
    for threads in (2, 4):
        ways[f"one by one, {threads} interpreter threads"] = in_batches(1, threads)
        ways[f"batches of 32, {threads} interpreter threads"] = in_batches(32, threads)
    for batch in (1, 16, 64):
        ways[f"batches of {batch}, {cores} Python threads"] = in_python_threads(batch, cores)
    if hasattr(os, "fork"):
        for batch in (1, 32):
            ways[f"batches of {batch}, {cores} processes"] = in_processes(batch, cores)
    return ways
