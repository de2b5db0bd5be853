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
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
import networks  # noqa: E402
from command_line import Parser, main_of
from ekd_files import Problem, read_safetensors, weights_of, write_atomically, write_safetensors

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


def layout(model, classes, channels=3):
    """Names and shapes of the network in the order of its state dict: the stem first, the classifier's bias last."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in networks.make(model, classes, channels).state_dict().items()}


def candidates(shapes):
    """The networks that the tensors may be of."""
    names = list(networks.NETWORKS)
    first = shapes.get("block1.layer.0.conv1.weight", ())
    if len(first) == 4 and first[0] % 16 == 0:  # any wide residual network
        depth = 6 * sum(re.fullmatch(r"block1\.layer\.\d+\.conv1\.weight", name) is not None for name in shapes) + 4
        names = list(dict.fromkeys([*names, f"wrn_{depth}_{first[0] // 16}"]))
    return names


def detect(shapes, path):
    """(network, classes, its own shapes) of the network that has these names and shapes, counters aside."""
    given = {name for name in shapes if not name.endswith(COUNTER)}
    found = []
    for model in candidates(shapes):
        own = layout(model, 1)
        bias = list(own)[-1]
        if len(shapes.get(bias, ())) == 1 and shapes[bias][0] > 0:
            own = layout(model, shapes[bias][0], stem_channels(shapes, own))
        names = {name for name in own if not name.endswith(COUNTER)}
        misfits = [name for name in own if name in shapes and shapes[name] != own[name]]
        found.append((len(names - given) + len(given - names), len(misfits), model, bias, own, misfits))
    _, _, model, bias, own, misfits = min(found, key=lambda one: one[:2])
    names = {name for name in own if not name.endswith(COUNTER)}
    missing, extra = names - given, given - names
    if missing or extra:
        wrong = [f"{what} {shortened(sorted(names))}" for what, names in (("missing", missing), ("unknown", extra)) if names]
        raise Problem(f"{path}: the names fit none of {', '.join(networks.NETWORKS)}; nearest is {model}: {'; '.join(wrong)}")
    if len(shapes[bias]) != 1 or shapes[bias][0] == 0:
        raise Problem(f"{path}: '{bias}' tells no number of classes: its shape is {list(shapes[bias])}")
    if misfits:
        wrong = [f"{name} is {list(shapes[name])}, not {list(own[name])}" for name in misfits]
        raise Problem(f"{path}: the names are those of {model}, the shapes are not: {shortened(wrong)}")
    return model, shapes[bias][0], own


def stem_channels(shapes, own):
    """Of the images."""
    stem = shapes.get(next(iter(own)), ())
    return stem[1] if len(stem) == 4 and stem[1] > 0 else 3


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
