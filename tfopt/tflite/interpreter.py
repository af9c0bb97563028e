"""Runs `.tflite` files; no TensorFlow needed."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from tfopt.data import Arrays, columns, leaves
from tfopt.errors import DataError, InterpreterError, SettingError, nearest
from tfopt.tflite import batching
from tfopt.tflite.content import read_tflite
from tfopt.tflite.runtime import interpreter_module
from tfopt.tflite.tensor_spec import specs_of

Kernels = Literal["default", "builtin", "reference"]

_RESOLVERS: dict[str, str] = {
    "default": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}

# Fewer samples are over before it is known that they could have been batched.
_WORTH_BATCHING = 8


class TFLiteModel:
    """A `.tflite` in the interpreter: real numbers in, real numbers out, any number of samples.

    Quantization happens on the way in and out, so that a file with int8 inputs is used as the
    float model it was made from. Samples are run in batches where that is faster and the file is
    shown to give the same for a batch as for its samples one by one; a file with a batch size fixed
    inside runs one by one. The states of recurrent layers are reset before every run, as Keras
    does (the interpreter keeps them otherwise).

    One model is for one thread at a time; `predict_batches` of `tfopt.tflite.parallel` uses all
    cores.

    Args:
        tflite: The file's content or its path.
        threads: Threads of the interpreter itself.
        kernels: `"default"` (XNNPACK), `"builtin"` (TensorFlow Lite's own, which a
            microcontroller's equal bit for bit) or `"reference"` (plain and slow).
        keep_tensors: Keep what tensors inside hold, for `activations`; without XNNPACK then.

    Raises:
        InterpreterError: The file cannot be read, or the interpreter refuses it.
        SettingError: `threads` or `kernels` cannot be.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> model = TFLiteModel(tflite)
        >>> [spec.dtype for spec in model.inputs]
        ['int8']
        >>> [output.shape for output in model.predict(np.zeros((5, 8, 8, 1), np.float32))]
        [(5, 10)]
    """

    def __init__(
        self,
        tflite: bytes | str | os.PathLike[str],
        *,
        threads: int = 1,
        kernels: Kernels = "default",
        keep_tensors: bool = False,
    ) -> None:
        if threads < 1:
            raise SettingError(
                received=f"threads={threads}", expected="at least 1", fix="leave it out for one"
            )
        if kernels not in _RESOLVERS:
            raise SettingError(
                received=f"kernels={kernels!r}",
                expected=nearest(str(kernels), get_args(Kernels)),
                fix="leave it out for the fastest",
            )
        self._content = read_tflite(tflite)
        self._threads, self._kernels, self._keep_tensors = threads, kernels, keep_tensors
        self._batches: dict[tuple[tuple[int, ...], ...], int] = {}
        self._shapes: list[tuple[int, ...]] | None = None
        self._load()
        self.inputs, self.outputs = specs_of(self._interpreter)

    def twin(self) -> TFLiteModel:
        """Returns another interpreter of the same file and settings, for another thread."""
        other = copy.copy(self)
        other._load()
        return other

    def predict(self, x: Arrays) -> list[np.ndarray]:
        """Runs samples through the file.

        Args:
            x: The inputs, (samples, ...) each: one array, a tuple in the file's order, or a dict by
                the names of `inputs`. Real numbers; arrays of a quantized input's own type are
                taken as quantized already.

        Returns:
            The outputs in the order of `outputs`, (samples, ...) each: float32 for float and
            quantized ones, else as the file gives them.

        Raises:
            DataError: The arrays do not fit the file's inputs.
            InterpreterError: The file fails to run.
        """
        arrays = self._matched(x)
        count = len(arrays[0])
        runs = -(-count // self._batch_size(arrays))
        size = -(-count // runs)  # runs of one size: each other size costs an allocation
        parts = [
            self._run([array[start : start + size] for array in arrays])
            for start in range(0, count, size)
        ]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def activations(
        self, x: Arrays, tensors: Sequence[int]
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Runs samples and yields what tensors inside hold: the number of samples, and the values.

        Args:
            x: The inputs, as for `predict`.
            tensors: The tensors' numbers; `keep_tensors` must be set.

        Raises:
            DataError, InterpreterError: As for `predict`.
        """
        arrays = self._matched(x)
        for start in range(0, len(arrays[0]), size := self._batch_size(arrays)):
            batch = [array[start : start + size] for array in arrays]
            self._run(batch)
            yield len(batch[0]), [self._interpreter.get_tensor(index) for index in tensors]

    def set_inputs(self, x: Arrays) -> None:
        """Puts samples into the inputs, all at once, for `invoke`: what a stop watch needs.

        Raises:
            DataError: The arrays do not fit the file's inputs.
            InterpreterError: The file does not take this many samples at a time.
        """
        self._set(self._matched(x))

    def invoke(self) -> None:
        """Runs what `set_inputs` has put in.

        Raises:
            InterpreterError: The file fails to run.
        """
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise self._failure("run", error) from error

    def put(self, values: Mapping[int, np.ndarray]) -> None:
        """Puts values into tensors as the file holds them, by number, for `invoke`.

        Raises:
            InterpreterError: They do not fit.
        """
        try:
            for index, value in values.items():
                self._interpreter.set_tensor(index, value)
        except (ValueError, RuntimeError) as error:
            raise self._failure("take values", error) from error

    def held(self, index: int) -> np.ndarray:
        """Returns what a tensor holds after a run, in its own type.

        Raises:
            InterpreterError: It holds nothing.
        """
        try:
            return self._interpreter.get_tensor(index)
        except (ValueError, RuntimeError) as error:
            raise self._failure(f"show tensor {index}", error) from error

    @property
    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The shapes of the tensors by their numbers: as stored, after a run as they were there."""
        tensors = self._interpreter.get_tensor_details()
        return {item["index"]: tuple(map(int, item["shape"])) for item in tensors}

    @property
    def delegated(self) -> frozenset[int]:
        """The numbers of the tensors that XNNPACK hands over to other ops or to the caller."""
        ops = self._interpreter._get_ops_details()
        found = (op["outputs"] for op in ops if op["op_name"] == "DELEGATE")
        return frozenset(int(index) for outputs in found for index in outputs)

    def _run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One run of the interpreter; real numbers in and out."""
        count = len(arrays[0])
        self._set(arrays)
        self.invoke()
        outputs = []
        for spec in self.outputs:
            value = self._interpreter.get_tensor(spec.index)
            if value.ndim == 0 or len(value) != count:
                if count > 1:
                    raise InterpreterError(
                        received=f"output {spec.name!r} of shape {value.shape} for {count} samples",
                        expected=f"{count} along the first axis",
                        fix="run the samples one by one",
                    )
                value = value[np.newaxis]  # the file's output has no axis of samples
            outputs.append(spec.decode(value))
        return outputs

    def _set(self, arrays: list[np.ndarray]) -> None:
        """Sizes the inputs, resets states and fills the inputs in."""
        shapes = [array.shape for array in arrays]
        try:
            if shapes != self._shapes:
                self._shapes = None
                for spec, shape in zip(self.inputs, shapes, strict=True):
                    self._interpreter.resize_tensor_input(spec.index, shape)
                self._interpreter.allocate_tensors()
                self._shapes = shapes
            self._interpreter.reset_all_variables()
            for spec, array in zip(self.inputs, arrays, strict=True):
                self._interpreter.set_tensor(spec.index, spec.encode(array))
        except (ValueError, RuntimeError) as error:
            raise self._failure(f"take inputs of shape {shapes}", error) from error

    def _load(self) -> None:
        """Makes the interpreter anew: one that failed to take a batch is not used again."""
        module = interpreter_module()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of the memory kept tensors take
                self._interpreter = module.Interpreter(
                    model_content=self._content,
                    num_threads=self._threads,
                    experimental_op_resolver_type=getattr(
                        module.OpResolverType, _RESOLVERS[self._kernels]
                    ),
                    experimental_preserve_all_tensors=self._keep_tensors,
                )
            if not self._is_open():  # else it may be too small to be allocated
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self._failure("load", error) from error
        self._shapes = None

    def _is_open(self) -> bool:
        """Whether an input leaves a size open, beside the number of samples."""
        inputs = self._interpreter.get_input_details()
        return any((item["shape_signature"][1:] < 0).any() for item in inputs)

    def _matched(self, x: Arrays) -> list[np.ndarray]:
        """The arrays in the order of the inputs, checked."""
        given = leaves(x)
        if len(given) == len(self.inputs) == 1:
            arrays = [np.asarray(given[0][1])]
        else:
            names = [spec.name for spec in self.inputs]
            arrays = [np.asarray(array) for array in columns(x, names)]
        for spec, array in zip(self.inputs, arrays, strict=True):
            spec.check(array)
        lengths = {spec.name: len(a) for spec, a in zip(self.inputs, arrays, strict=True)}
        if len(set(lengths.values())) > 1:
            raise DataError(
                received=f"inputs of different lengths: {lengths}",
                expected="the same number of samples in each",
                fix="check how the inputs were cut",
            )
        return arrays

    @property
    def largest_batch(self) -> int:
        """How many samples are run at a time at most."""
        return batching.largest_batch(self._interpreter.get_tensor_details(), self._threads)

    def learn_batch(self, x: Arrays) -> None:
        """Finds out on samples how many to run at a time; `predict` does where it is not known.

        A few samples say nothing: they are over before it would pay.

        Raises:
            DataError: The arrays do not fit the file's inputs.
            InterpreterError: The file fails to run.
        """
        self._batch_size(self._matched(x))

    def _batch_size(self, arrays: list[np.ndarray]) -> int:
        """How many samples to run at a time, found out once for each of their sizes."""
        sizes = tuple(array.shape[1:] for array in arrays)
        if sizes not in self._batches:
            if len(arrays[0]) < _WORTH_BATCHING:
                return 1
            pair = [array[[0, -1]] for array in arrays]
            self._set([array[:1] for array in pair])  # sizes inside are known from here on
            largest = self.largest_batch
            worth = largest > 1 and self._batches_well(pair)
            self._batches[sizes] = largest if worth else 1
        return self._batches[sizes]

    def _batches_well(self, pair: list[np.ndarray]) -> bool:
        """Whether two samples at once give what they give one by one.

        A file can take a batch without an error and still mix its samples, where a constant shape
        is baked into a RESHAPE.
        """
        single = [self._run([array[i : i + 1] for array in pair]) for i in (0, 1)]
        try:
            both = self._run(pair)
        except InterpreterError:
            self._load()
            return False
        alone = [np.concatenate(column) for column in zip(*single, strict=True)]
        return all(map(batching.same, both, alone, self.outputs))

    def _failure(self, what: str, error: Exception) -> InterpreterError:
        """What the interpreter said, as an error of our own."""
        return InterpreterError(
            received=f"a file of {len(self._content):,} bytes that fails to {what} with "
            f"{self._kernels} kernels: {error}",
            expected="a .tflite file that the interpreter can run",
            fix="see which ops it holds with tfopt.inspect, and make it again with tfopt.convert",
        )
