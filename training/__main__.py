"""`python -m training`: corpus, tokenizer, training, export and evaluation, in this order."""

import argparse
import logging
from pathlib import Path

import torch

from training.corpus.mixture import Mixture
from training.evaluate import evaluate, misses, table, write_tables
from training.export import export
from training.tokenizer import Tokenizer, train_tokenizer
from training.train import FULL, SMOKE, Trainer

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "cfai" / "demo" / "tiny-chat"
PAGE = ROOT / "docs" / "demo-model.md"

log = logging.getLogger("training")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a run of about a minute, to see that everything works")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--work", type=Path, default=ROOT / "training" / "work", help="where states and trial exports go"
    )
    parser.add_argument(
        "--out", type=Path, help="where the checkpoint goes (default: the shipped one; with --smoke: work)"
    )
    parser.add_argument("--only", choices=("train", "export", "evaluate"), help="do one part, from the saved state")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    folder = options.out or (options.work / "smoke" if options.smoke else SHIPPED)
    if options.only != "evaluate":
        train(options, folder)
    if options.only in (None, "evaluate"):
        report = evaluate(folder, every=20 if options.smoke else 1)
        log.info("%s\n%s", table(report), misses(report))
        if folder == SHIPPED:
            write_tables(report, folder, PAGE)


def train(options: argparse.Namespace, folder: Path) -> None:
    mixture = Mixture()
    pieces = options.work / "tokenizer.model"
    resume = options.resume or options.only == "export"
    if not resume:
        train_tokenizer(mixture, pieces, examples=20_000 if options.smoke else 150_000)
    trainer = Trainer(mixture, Tokenizer(pieces), SMOKE if options.smoke else FULL, options.work)
    if resume:
        trainer.resume()
    if options.only != "export":
        trainer.run()
    if options.only != "train":
        export(trainer.model, pieces, folder)


if __name__ == "__main__":
    main()
