"""MinHash signatures by datasketch or Daft, from texts in a Parquet file: documents, CPU and wall seconds as JSON.

    python duplicates_client.py datasketch texts.parquet --documents 3000

128 slots, shingles of 5 words between spaces, no normalisation. The texts are in memory, and a first small batch is
done, before the clock starts. Each is used as its documentation shows: datasketch by ``MinHash.update_batch`` over a
text's shingles, Daft by its ``minhash`` expression with the hash function named.
"""

import argparse
import json
import os
import resource
import time

import pyarrow as pa
import pyarrow.parquet as pq


def with_datasketch(texts, _):
    from datasketch import MinHash

    def sign(text):
        words = text.split()
        found = MinHash(num_perm=128)
        found.update_batch({" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))})
        return found.hashvalues

    texts = texts.to_pylist()
    return lambda: [sign(text) for text in texts]


def with_daft(texts, hash_function):
    import daft
    from daft.functions import minhash

    frame = daft.from_arrow(pa.table({"text": texts})).collect()
    signed = frame.select(minhash(frame["text"], num_hashes=128, ngram_size=5, hash_function=hash_function))
    return lambda: daft.DataFrame(signed._builder).collect()


def used():
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["datasketch", "daft"])
    parser.add_argument("path")
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--hash-function", default="xxhash3_64")
    given = parser.parse_args()
    column = pq.read_table(given.path, columns=["text"])["text"].combine_chunks()
    prepare = {"datasketch": with_datasketch, "daft": with_daft}[given.peer]
    prepare(column[:50], given.hash_function)()
    sign = prepare(column[: given.documents], given.hash_function)
    cpu, wall = used(), time.perf_counter()
    sign()
    figures = {"documents": given.documents, "cpu": used() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps(figures), flush=True)
    os._exit(0)  # Daft's threads may outlive the interpreter, which then aborts


if __name__ == "__main__":
    main()
