#!/usr/bin/env python3
"""A trained network as an ONNX file that needs nothing of ekd: pixels in, logits or probabilities out.

    export_onnx.py runs/kd-add kd-add.onnx --softmax
    export_onnx.py runs/kd-add:best best.onnx --batch 1 --opset 20

Input `images`: float32 [batch, channels, height, width] of pixels in [0, 1]; the normalisation that the network was trained with is part
of the graph. Output `logits` or, with --softmax, `probabilities`: [batch, classes]. The file's metadata say model, classes, class_names,
image_shape, normalisation (JSON) and temperature. Before it is written onnxruntime has to give PyTorch's answers: exit code 1 where not.
"""

import argparse
import io
import json
import logging
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from command_line import Parser, main_of
from ekd_files import WEIGHTS, Problem, Run, read_safetensors, weights_of, write_atomically

NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime")
FIRST_OPSET = 18  # PyTorch's exporter writes none below
TOLERANCE = 1e-4  # of an output
PUBLISHED = {"mean": [0.5071, 0.4867, 0.4408], "std": [0.2675, 0.2565, 0.2761]}  # of CIFAR-100


@dataclass
class Trained:
    """What is known of the weights: who they are for, and on which images they were trained."""

    model: str
    classes: int
    tensors: dict
    image_shape: list = field(default_factory=list)  # channels, height, width
    normalisation: dict = field(default_factory=dict)  # "mean", "std": a number for each channel
    class_names: list = field(default_factory=list)  # or none


def needed_modules():
    try:
        return [__import__(name) for name in NEEDED]
    except ImportError as error:
        raise Problem(f"{error.name} is missing: {sys.executable} -m pip install {' '.join(NEEDED[1:])}") from None


def trained(source):
    """From RUN, RUN:best, RUN:ema or a weights file. The weights say how their images were normalised, the run the rest."""
    path = weights_of(source)
    metadata, tensors = read_safetensors(path)
    try:
        own = json.loads(metadata.get("ekd", "{}"))
        result = Trained(own.get("model") or metadata["model"], own.get("classes") or int(metadata["num_classes"]), tensors)
    except (KeyError, ValueError, AttributeError):
        raise Problem(f"{path}: does not say which network it is for; scripts/convert_weights.py writes that down") from None
    recorded = {}  # also of a run of an earlier version, whose images were like CIFAR-100's
    if path.stem in WEIGHTS and (path.parent / "config.json").is_file():
        recorded = Run(path.parent).record.get("data") or {}
    else:
        taken = "32×32" if "normalisation" in own else "CIFAR-100's"
        print(f"warning: {path}: a weights file does not say on which images it was trained: taken as {taken}", file=sys.stderr)
    try:
        normalisation = own.get("normalisation") or recorded.get("normalisation", PUBLISHED)
        result.normalisation = {key: list(map(float, normalisation[key])) for key in PUBLISHED}
        result.image_shape = list(map(int, recorded.get("image_shape", [len(result.normalisation["mean"]), 32, 32])))
        result.class_names = list(recorded.get("class_names", []))
        if len(result.image_shape) == 3 and all(len(values) == result.image_shape[0] for values in result.normalisation.values()):
            return result
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise Problem(f"{path}: what it or its run.json says of its images is damaged")


def network_of(weights, options, torch):
    """PyTorch's definition with these weights, between the normalisation and what is done to the logits."""
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    import networks

    class Exported(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network
            for name, values in weights.normalisation.items():
                self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

        def forward(self, images):
            logits = self.network(images if options.normalised_input else (images - self.mean) / self.std)
            if options.temperature != 1:
                logits = logits / options.temperature
            return logits.softmax(1) if options.softmax else logits

    try:
        network = networks.make(weights.model, weights.classes, weights.image_shape[0])
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.tensors.items()})
    except KeyError:
        raise Problem(f"{options.source}: there is no PyTorch definition of '{weights.model}' here; there are {', '.join(networks.NETWORKS)}") from None
    except RuntimeError as error:
        raise Problem(f"{options.source}: does not fit {weights.model} of {weights.classes} classes: {str(error).splitlines()[-1]}") from None
    return Exported(network).eval()


def onnx_of(network, example, options, torch):
    """The graph as a message of onnx, of exactly the opset that is asked for."""
    shapes = {"images": {0: torch.export.Dim("batch")}} if options.batch is None else None
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # of the exporter, for programmers
        warnings.simplefilter("ignore")
        made = torch.onnx.export(network, (example,), dynamo=True, verbose=False, opset_version=options.opset, dynamic_shapes=shapes,
                                 input_names=["images"], output_names=["probabilities" if options.softmax else "logits"])
    proto = made.model_proto
    written = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if written != options.opset:
        raise Problem(f"--opset {options.opset}: PyTorch's exporter could only write {written}")
    return proto


def largest_difference(content, network, examples, torch, onnxruntime):
    """Of onnxruntime's answers and PyTorch's, over batches."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        return max(float((torch.from_numpy(session.run(None, {"images": batch.numpy()})[0]) - network(batch)).abs().max()) for batch in examples)


def batch_size(text):
    if text == "dynamic":
        return None
    if text.isdecimal() and 1 <= int(text) <= 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"takes dynamic or a number from 1 to 65536, not '{text}'")


def positive(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"takes a number > 0, not '{text}'")
    return value


def export(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="RUN_OR_WEIGHTS", help="RUN, RUN:best, RUN:ema or a safetensors file")
    parser.add_argument("output", metavar="OUT.onnx", type=Path)
    parser.add_argument("--opset", type=int, default=FIRST_OPSET, help=f"version of ONNX's operators (default {FIRST_OPSET})")
    parser.add_argument("--batch", type=batch_size, default="dynamic", metavar="N", help="images at a time, or dynamic (the default)")
    parser.add_argument("--normalised-input", action="store_true", help="the caller normalises the images")
    parser.add_argument("--softmax", action="store_true", help="probabilities instead of logits")
    parser.add_argument("--temperature", type=positive, default=1.0, metavar="T", help="divide logits by this (default 1)")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".onnx":
        raise Problem(f"{options.output}: the result is an ONNX file, and this name does not end in .onnx")
    weights = trained(options.source)
    torch, onnx, _, onnxruntime = needed_modules()
    if not FIRST_OPSET <= options.opset <= onnx.defs.onnx_opset_version():
        raise Problem(f"--opset takes {FIRST_OPSET} to {onnx.defs.onnx_opset_version()}, not {options.opset}")

    network = network_of(weights, options, torch)
    torch.manual_seed(0)
    examples = [torch.rand(size, *weights.image_shape) for size in ((8, 3) if options.batch is None else (options.batch,))]
    proto = onnx_of(network, examples[0], options, torch)
    onnx.helper.set_model_props(proto, {
        "model": weights.model, "classes": str(weights.classes), "class_names": json.dumps(weights.class_names), "image_shape": json.dumps(weights.image_shape),
        "normalisation": json.dumps(weights.normalisation), "normalised_input": json.dumps(options.normalised_input), "temperature": repr(options.temperature)})
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    difference = largest_difference(content, network, examples, torch, onnxruntime)
    said = f"{weights.model}, {weights.classes} classes, opset {options.opset}; onnxruntime differs from PyTorch by at most {difference:.1e}"
    if not difference <= TOLERANCE:
        print(f"error: {options.output}: not written: {said}, more than {TOLERANCE:.0e}", file=sys.stderr)
        return 1
    write_atomically(options.output, content)
    print(f"{options.output}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main_of(export))
