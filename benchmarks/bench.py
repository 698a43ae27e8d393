"""Speed and memory beside named peers, measured in the same run: `make bench`.

Read the ratios, not the seconds: machines differ, and the peer ran on the same one a moment before.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from results import Row, shown, write

from linkage.machine import cores


def main() -> None:
    # Here, and not above: processes that are measured alone import this module, and would hold what others need.
    import clustering
    import embedding
    import linking
    import ocr
    import pipeline
    import search
    from ingest import KINDS, measure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=200, help="crops to read; 0 = none")
    parser.add_argument("--crops-from", type=Path, help="CSV of image and text: real crops instead of drawn ones")
    parser.add_argument("--firms", type=int, default=400, help="entries on the pages to read")
    parser.add_argument("--embed", type=int, default=256, help="crops to embed; 0 = none")
    parser.add_argument("--link", type=int, nargs="*", default=[5_000], help="queries, and as many exemplars")
    parser.add_argument("--records", type=int, nargs="*", default=[20_000, 100_000], help="records to cluster")
    parser.add_argument("--exemplars", type=int, nargs="*", default=[100_000], help="exemplars to search")
    parser.add_argument("--queries", type=int, default=20_000, help="queries that search them")
    parser.add_argument("--cards", type=int, nargs="*", default=[200], help="pages of the whole job")
    parser.add_argument("--pages", type=int, nargs="*", default=[500, 2_000], help="pages of a document, killed")
    parser.add_argument("--out", type=Path, help="Markdown file for all tables")
    arguments = parser.parse_args()
    rows: list[Row] = []

    def tell(more: list[Row]) -> None:
        rows.extend(more)
        print(shown(more), flush=True)
        if arguments.out:
            write(rows, arguments.out)

    if arguments.crops:
        with tempfile.TemporaryDirectory() as folder:
            tell(ocr.rows(arguments.crops, arguments.firms, arguments.crops_from, Path(folder)))
    if arguments.embed:
        tell(embedding.rows(arguments.embed, sorted({1, cores()})))
    tell(linking.rows(arguments.link))
    for n in arguments.records:
        tell(clustering.rows([n]))
    for n in arguments.exemplars:
        tell(search.rows(n, arguments.queries))
    for n in arguments.cards:
        tell(pipeline.rows(n))
    for n in arguments.pages:
        for kind in KINDS:
            measure(kind, n, kills=3, ocr=False)


if __name__ == "__main__":
    main()
