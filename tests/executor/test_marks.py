"""Whose output is whose, however the stream is cut (SEMANTICS 16.4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.marks import MarkReader, mark

SECRET = bytes(range(1, 17))

outputs = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1),
        # Beginnings of the secret are what is hard to tell from a mark.
        st.lists(st.sampled_from([b"x", b"\n", SECRET[:1], SECRET[:9], SECRET[:15]])).map(b"".join),
    )
)


@given(outputs, st.data())
def test_every_byte_arrives_once_in_order_with_its_number(
    written: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(mark(SECRET, number) + output for number, output in written)
    reader = MarkReader(SECRET)
    read: list[tuple[int, bytes]] = []
    while stream:
        size = data.draw(st.integers(1, 40))
        read += reader.feed(stream[:size])
        stream = stream[size:]
    read += reader.finish()
    assert all(output for _, output in read)
    assert _joined(read) == _joined(written)


def _joined(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    joined: list[tuple[int, bytes]] = []
    for number, output in pieces:
        if joined and joined[-1][0] == number:
            joined[-1] = (number, joined[-1][1] + output)
        elif output:
            joined.append((number, output))
    return joined


def test_output_before_any_mark_is_nobodys_and_what_looks_like_one_is_let_through_at_the_end() -> None:
    reader = MarkReader(SECRET)
    assert reader.feed(b"early" + SECRET[:7]) == [(0, b"early")]
    assert reader.feed(b"!") == [(0, SECRET[:7] + b"!")]
    assert reader.feed(SECRET) == []
    assert reader.finish() == [(0, SECRET)]
