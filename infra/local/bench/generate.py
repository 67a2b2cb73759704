"""Writes workflow output as JSON lines: the same bytes for the same number of rows, on every machine.

usage: generate.py ROWS FILE

A row has 14 public and 2 private fields and about 742 bytes: numbers, prices, dates, times, links, prose with the odd
accent and quotation mark, a nested object, a list, and nulls. Prints how many rows are written, as it writes.
"""

import concurrent.futures
import datetime
import json
import os
import random
import sys

import orjson

SEED = 4711
# Rows that one process makes at a time, from a seed of their own: so a longer file begins like a shorter one.
BLOCK_ROWS = 25_000

PROSE = (
    "solid oak table with brushed brass legs, a quiet pump for the aquarium, hand-woven wool rug in deep blue, "
    "spare filter for the coffee machine, a tent for four that stands in six minutes, running shoes with a wide toe "
    "box, a lamp that dims at sunset, notebook with dotted paper and lay-flat binding, folding bicycle \"Stadtflitzer\" "
    "in grün, crème brûlée torch, jalapeño seeds, porcelain teapot from 有田, the mug that keeps its heat, "
    "delivered within three days or your money back, rated 4.8 of 5 by 2,300 buyers, now 15 % off, only while "
    "stocks last, repairable, spare parts for ten years, made in small batches – each one signed"
).split()
CATEGORIES = ["Furniture", "Kitchen & Dining", "Outdoor", "Bicycles", "Stationery", "Lighting", "Pets", "Plants"]
LABELS = ["new", "repairable", "gift", "refurbished", "last items", "organic", "import", "set", "outlet", "bulky"]
CURRENCIES = ["EUR", "USD", "GBP", "CHF", "SEK", "JPY"]
SHOPS = ["shop.example.com", "store.example.net", "market.example.org"]
PLACES = ["Basel", "Porto", "Leeds", "Malmö", "Osaka", "Denver", "Graz"]
EPOCH = datetime.datetime(2026, 1, 1)
SECONDS = 300 * 86_400


def prose(dice, least, most):
    """Words up to a length in characters, drawn between two bounds."""
    length = dice.randint(least, most)
    words, written = [], 0
    while written < length:
        word = PROSE[int(dice.random() * len(PROSE))]
        words.append(word)
        written += len(word) + 1
    return " ".join(words)[:most]


def unless(dice, share, value):
    """The value, but null in this share of rows."""
    return None if dice.random() < share else value


def row(dice, number):
    seen = EPOCH + datetime.timedelta(seconds=dice.randrange(SECONDS))
    shop = dice.choice(SHOPS)
    item = f"{dice.getrandbits(40):010x}"
    return {
        "id": 50_000_000 + number,
        "title": prose(dice, 20, 90),
        "description": unless(dice, 0.05, prose(dice, 80, 276)),
        "price": unless(dice, 0.03, (99 + int(dice.random() ** 3 * 400_000)) / 100),
        "currency": dice.choice(CURRENCIES),
        "url": f"https://{shop}/items/{item}?list=daily&position={dice.randrange(500)}",
        "image_url": unless(dice, 0.1, f"https://images.{shop}/{item}/{dice.getrandbits(24):06x}.jpg"),
        "in_stock": dice.random() < 0.75,
        "category": dice.choice(CATEGORIES),
        "review_count": unless(dice, 0.15, int(dice.random() ** 4 * 15_000)),
        "listed_on": seen.date().isoformat(),
        "scraped_at": seen.isoformat() + f".{dice.randrange(1000):03d}Z",
        "seller": {
            "name": prose(dice, 8, 30),
            "city": dice.choice(PLACES),
            "rating": unless(dice, 0.2, dice.randint(10, 50) / 10),
            "verified": dice.random() < 0.6,
        },
        "tags": dice.choices(LABELS, k=dice.randrange(5)),
        "_confidence": dice.randrange(10_000) / 10_000,
        "_source": f"crawl-{dice.getrandbits(32)}/page-{dice.randrange(400)}",
    }


def block(first, rows):
    dice = random.Random(f"{SEED}/{first}")
    lines = [orjson.dumps(row(dice, first + index), option=orjson.OPT_APPEND_NEWLINE) for index in range(rows)]
    return b"".join(lines)


def main(rows, path):
    new = path + ".new"
    firsts = range(0, rows, BLOCK_ROWS)
    workers = os.cpu_count() or 1
    with open(new, "wb") as file, concurrent.futures.ProcessPoolExecutor(workers) as pool:
        # A few blocks at a time: what is made and not written yet stays small.
        for begin in range(0, len(firsts), 4 * workers):
            some = firsts[begin : begin + 4 * workers]
            for made in pool.map(block, some, [min(BLOCK_ROWS, rows - first) for first in some]):
                file.write(made)
            print(f"{min(some[-1] + BLOCK_ROWS, rows):,} rows", flush=True)
    os.replace(new, path)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
