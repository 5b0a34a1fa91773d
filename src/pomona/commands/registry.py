"""The commands of `pomona`, in the order in which `pomona --help` lists them.

To add a command:
1. write a function in the module of its family. Its parameters are its arguments, its options,
   and groups of options (`options/` has those that commands share); its docstring is its help;
2. add its entry to `COMMANDS`;
3. name it in README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

MAKE = "Make features"
LEARN = "Learn labels"
LOOK = "Look at results"
KEEP = "Maintain a store"
MOVE = "Move images and stores"
CLOUD = "Run on AWS"
START = "Set up and try out"


@dataclass(frozen=True)
class Command:
    """A command's entry.

    Parameters
    ----------
    name : str
        The word after `pomona`.
    panel : str
        The heading in `pomona --help` under which it stands.
    home : str
        Where its function, or the Typer app of its own commands, lives: "module:name".
    example : str
        One command line, the last line of its help.
    """

    name: str
    panel: str
    home: str
    example: str


COMMANDS: tuple[Command, ...] = (
    Command(
        "run",
        MAKE,
        "pomona.commands.make:run",
        "pomona run photos out --variance 0.95 --labels labels.csv",
    ),
    Command("extract", MAKE, "pomona.commands.make:extract", "pomona extract photos out"),
    Command("reduce", MAKE, "pomona.commands.make:reduce", "pomona reduce out --components 50"),
    Command(
        "import-features",
        MAKE,
        "pomona.commands.make:import_features",
        "pomona import-features features.parquet out",
    ),
    Command("train", LEARN, "pomona.commands.learn:train", "pomona train out"),
    Command("evaluate", LEARN, "pomona.commands.learn:evaluate", "pomona evaluate out --open"),
    Command("predict", LEARN, "pomona.commands.learn:predict", "pomona predict out new done"),
    Command("export", LEARN, "pomona.commands.learn:export", "pomona export out fruit.onnx"),
    Command("models", LEARN, "pomona.commands.models:models", "pomona models out --roll-back"),
    Command(
        "feedback",
        LEARN,
        "pomona.commands.feedback:feedback",
        "pomona feedback out --labels-file labels.csv",
    ),
    Command("search", LOOK, "pomona.commands.look:search", "pomona search out new.jpg --open"),
    Command("drift", LOOK, "pomona.commands.drift:drift", "pomona drift out --page drift.html"),
    Command("report", LOOK, "pomona.commands.look:report", "pomona report out --open"),
    Command("serve", LOOK, "pomona.commands.serve:serve", "pomona serve out --port 8000"),
    Command("watch", KEEP, "pomona.commands.watch:watch", "pomona watch photos out --every 10m"),
    Command("verify", KEEP, "pomona.commands.keep:verify", "pomona verify out --source photos"),
    Command(
        "forget",
        KEEP,
        "pomona.commands.keep:forget",
        "pomona forget out 'Training/Pear Yellow 1/0_100.jpg'",
    ),
    Command(
        "upload", MOVE, "pomona.commands.move:upload", "pomona upload photos s3://bucket/photos"
    ),
    Command(
        "download", MOVE, "pomona.commands.move:download", "pomona download s3://bucket/out out"
    ),
    Command(
        "pack",
        MOVE,
        "pomona.commands.move:pack",
        "pomona pack photos photos.pack && pomona run photos.pack out",
    ),
    Command(
        "aws",
        CLOUD,
        "pomona.commands.aws.app:app",
        "pomona aws plan --images 67692 --image-bytes 5000 --region eu-west-1",
    ),
    Command("sample", START, "pomona.commands.start:sample", "pomona sample photos --varieties 24"),
    Command("doctor", START, "pomona.commands.start:doctor", "pomona doctor --speed"),
    Command(
        "backbones",
        START,
        "pomona.commands.backbones:app",
        "pomona backbones add mobilenet_v2",
    ),
)
