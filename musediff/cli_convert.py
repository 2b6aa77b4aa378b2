"""convert-checkpoint: a checkpoint of the original -> a weights folder of ours, and what is in it."""

import argparse
import json

from musediff.checkpoint import read_config
from musediff.engines.muse.convert import convert
from musediff.errors import BadRequest


def convert_checkpoint(args: argparse.Namespace) -> None:
    """Check the target, convert, report.

    Raises:
        BadCheckpoint: the original cannot be used; the message names the key and the shape.
        BadRequest: the target is there already, or cannot be written.
    """
    if args.out.exists() and (not args.out.is_dir() or (any(args.out.iterdir()) and not args.force)):
        raise BadRequest(f"{args.out} exists already. Choose another --out" + (" or add --force." if args.out.is_dir() else "."))
    settings = args.training_args or args.original.with_name("training_args.json")
    try:
        convert(args.original, settings, args.out, args.embedding, args.heads)
    except OSError as error:
        raise BadRequest(f"{args.out}: cannot be written ({error.strerror}).") from error
    config = read_config(args.out)
    report = {"command": "convert-checkpoint", "out": str(args.out), "network": config["network"], **config["about"]}
    if args.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    network, schedule = config["network"], config["about"]["schedule"]
    print(
        f"{args.out}: {network['layers']} layers of width {network['width']}, embeddings of {network['embedding']}, "
        f"up to {network['seq_len']} tokens; {schedule['steps']} steps, schedule {schedule['name']}"
    )
    print(f"To use it: musediff generate --weights {args.out}")
