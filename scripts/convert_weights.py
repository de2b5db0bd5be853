#!/usr/bin/env python3
"""Weights between PyTorch's .pth files and the safetensors files that ekd reads and writes.

    convert_weights.py wrn_40_2_last.pth teacher.safetensors      # then: ekd evaluate teacher.safetensors
    convert_weights.py runs/kd-add student.pth --key model        # a run, RUN:best, RUN:ema or a safetensors file
    convert_weights.py wrapped.safetensors teacher.safetensors    # names put right: 'module.' and --prefix taken off

The input's content and the output's name tell the direction. A .pth file is a state dict, alone or under `state_dict`, `model` or `net` beside
whatever else (optimizer, epoch); `module.` in front of every name is dropped. The network is told by names and shapes.
Files are read with weights_only: no code in them is run.
"""

import argparse
import io
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from ekd_files import Parser, Problem, main_of, read_safetensors, weights_of, write_atomically, write_safetensors

KEYS = ("state_dict", "model", "net")
COUNTER = "num_batches_tracked"  # of a batch norm; PyTorch before 0.4.1 has none
SHOWN = 3  # names in an error


def harmless_types():
    """Values without code that training scripts put beside the weights: their options and NumPy's numbers."""
    scalar = np.float64(0).__reduce__()[0]
    return [argparse.Namespace, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"),
            *{type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8")}]


def load_pth(path):
    try:
        with torch.serialization.safe_globals(harmless_types()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, for programmers
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        detail = next((line for line in str(error).splitlines() if "GLOBAL" in line), "it is damaged, or no .pth file")
        raise Problem(f"{path}: cannot be read without running code from it: {detail.strip()}") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever the reader stumbles over: an old file that was cut off has many ways
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise Problem(f"{path}: is damaged, or no .pth file: {detail}") from None


def is_state_dict(value):
    return isinstance(value, dict) and len(value) > 0 and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def state_dict_in(content, key, path):
    """The state dict of a loaded file: under the key, or found."""
    if key:
        if not isinstance(content, dict) or not is_state_dict(content.get(key)):
            raise Problem(f"{path}: holds no state dict under '{key}'")
        return content[key]
    if is_state_dict(content):
        return content
    for candidate in KEYS:
        if isinstance(content, dict) and is_state_dict(content.get(candidate)):
            return content[candidate]
    held = f"an object with {shortened(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
    raise Problem(f"{path}: holds no state dict, alone or under {', '.join(KEYS)} (it is {held}); --key names another place")


def without_prefix(state, prefix, path):
    """The tensors whose names start with the prefix, without it and without `module.`, which DataParallel adds."""
    state = renamed(state, lambda name: name.removeprefix("module."), path)
    kept = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    return renamed(kept, lambda name: name.removeprefix("module."), path)


def renamed(state, rename, path):
    result = {}
    for name, tensor in state.items():
        if rename(name) in result:
            raise Problem(f"{path}: two tensors are '{rename(name)}', with and without 'module.': which is meant cannot be told")
        result[rename(name)] = tensor
    return result


def shortened(names):
    names = [str(name) for name in names]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def batch_norm(name, width):
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")} | {f"{name}.{COUNTER}": ()}


def wrn_40_2(classes):
    """Names and shapes of WRN-40-2 (Zagoruyko and Komodakis, 2016) in the order of its state dict."""
    shapes, inputs = {"conv1.weight": (16, 3, 3, 3)}, 16
    for stage, width in enumerate((32, 64, 128), start=1):
        for index in range(6):
            block = f"block{stage}.layer.{index}"
            shapes |= batch_norm(f"{block}.bn1", inputs) | {f"{block}.conv1.weight": (width, inputs, 3, 3)}
            shapes |= batch_norm(f"{block}.bn2", width) | {f"{block}.conv2.weight": (width, width, 3, 3)}
            if inputs != width:
                shapes[f"{block}.convShortcut.weight"] = (width, inputs, 1, 1)
            inputs = width
    return shapes | batch_norm("bn1", 128) | {"fc.weight": (classes, 128), "fc.bias": (classes,)}


def shufflenet_v1(classes):
    """The same of ShuffleNetV1 with three groups (Zhang et al., 2018) in its CIFAR form."""
    shapes, inputs = {"conv1.weight": (24, 3, 1, 1)} | batch_norm("bn1", 24), 24
    for stage, (width, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
        for index in range(blocks):
            block, groups = f"layer{stage}.{index}", 1 if inputs == 24 else 3
            outputs = width if index else width - inputs  # the first block's pooled input is put beside its outputs
            middle = outputs // 4
            shapes |= {f"{block}.conv1.weight": (middle, inputs // groups, 1, 1)} | batch_norm(f"{block}.bn1", middle)
            shapes |= {f"{block}.conv2.weight": (middle, 1, 3, 3)} | batch_norm(f"{block}.bn2", middle)
            shapes |= {f"{block}.conv3.weight": (outputs, middle // 3, 1, 1)} | batch_norm(f"{block}.bn3", outputs)
            inputs = width
    return shapes | {"linear.weight": (classes, 960), "linear.bias": (classes,)}


NETWORKS = {"wrn_40_2": wrn_40_2, "shufflenet_v1": shufflenet_v1}


def detect(shapes, path):
    """(network, classes, its own shapes) of the network that has these names and shapes, counters aside."""
    given = {name for name in shapes if not name.endswith(COUNTER)}
    candidates = {}
    for model, layout in NETWORKS.items():
        own = {name for name in layout(1) if not name.endswith(COUNTER)}
        candidates[model] = (own - given, given - own)
    model, (missing, extra) = min(candidates.items(), key=lambda item: len(item[1][0]) + len(item[1][1]))
    if missing or extra:
        wrong = [f"{what} {shortened(sorted(names))}" for what, names in (("missing", missing), ("unknown", extra)) if names]
        raise Problem(f"{path}: the names fit none of {', '.join(NETWORKS)}; nearest is {model}: {'; '.join(wrong)}")
    bias = list(NETWORKS[model](1))[-1]
    if len(shapes[bias]) != 1 or shapes[bias][0] == 0:
        raise Problem(f"{path}: '{bias}' tells no number of classes: its shape is {list(shapes[bias])}")
    classes = shapes[bias][0]
    own = NETWORKS[model](classes)
    misfits = [f"{name} is {list(shapes[name])}, not {list(shape)}"
               for name, shape in own.items() if name in shapes and shapes[name] != shape]
    if misfits:
        raise Problem(f"{path}: the names are those of {model}, the shapes are not: {shortened(misfits)}")
    return model, classes, own


def fitted(state, path):
    """(network, classes, tensors in the network's order, float32 or int64). Counters that are missing are 0."""
    model, classes, own = detect({name: tuple(tensor.shape) for name, tensor in state.items()}, path)
    result = {}
    for name in own:
        tensor = state.get(name, torch.zeros((), dtype=torch.long))
        wanted = torch.long if name.endswith(COUNTER) else torch.float32
        if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
            kind = "has no values (meta)" if tensor.is_meta else "is quantized" if tensor.is_quantized else f"is sparse ({tensor.layout})"
            raise Problem(f"{path}: '{name}' {kind}; only dense tensors are weights")
        if tensor.is_floating_point() != wanted.is_floating_point:
            raise Problem(f"{path}: '{name}' is {tensor.dtype}, not {wanted}")
        result[name] = tensor.detach().to(wanted).contiguous()
        if wanted.is_floating_point and bool((tensor.isfinite() & ~result[name].isfinite()).any()):
            raise Problem(f"{path}: '{name}' holds values beyond float32's range (3.4e38)")
    return model, classes, result


def expect_ending(output, fits, made):
    if not fits:
        raise Problem(f"{output}: the result is a {made} file, and this name says otherwise")


def to_safetensors(source, options):
    held = state_dict_in(load_pth(source), options.key, source) if is_pth(source) else tensors_of(source)
    state = without_prefix(held, options.prefix, source)
    if not state:
        raise Problem(f"{source}: no name starts with '{options.prefix}'")
    model, classes, state = fitted(state, source)
    expect_ending(options.output, options.output.suffix == ".safetensors", "safetensors")
    metadata = {"format": "pt", "model": model, "num_classes": str(classes)}
    write_safetensors(options.output, {name: tensor.numpy() for name, tensor in state.items()}, metadata)
    return model, classes


def tensors_of(source):
    _, arrays = read_safetensors(source)
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def to_pth(source, options):
    model, classes, state = fitted(renamed(tensors_of(source), lambda name: name.removeprefix("module."), source), source)
    expect_ending(options.output, options.output.suffix != ".safetensors", ".pth")
    state = {options.prefix + name: tensor for name, tensor in state.items()}
    content = io.BytesIO()
    torch.save({options.key: state} if options.key else state, content)
    write_atomically(options.output, content.getvalue())
    return model, classes


def is_pth(path):
    """PyTorch's files are zip archives, or before 1.6 pickles."""
    with open(path, "rb") as file:
        start = file.read(9)
    return start.startswith((b"PK\x03\x04", b"\x80\x02")) and start[8:] != b"{"


def convert(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", help="a .pth file; or a safetensors file, RUN, RUN:best or RUN:ema")
    parser.add_argument("output", metavar="OUT", type=Path, help="the file to write")
    parser.add_argument("--key", help="where a .pth file holds the state dict (default: found when read; alone when written)")
    parser.add_argument("--prefix", default="", help="part of a .pth file's names before the network's own, as 'student.'")
    options = parser.parse_args(arguments)
    source = weights_of(options.input)
    if options.output.exists() and os.path.samefile(source, options.output):
        raise Problem(f"{options.output}: is the file that is read")
    made = to_safetensors if is_pth(source) or options.output.suffix == ".safetensors" else to_pth
    model, classes = made(source, options)
    print(f"{options.output}: {model}, {classes} classes")


if __name__ == "__main__":
    sys.exit(main_of(convert))
