"""What no client may send, by what is wrong with it.

socket.io-parser 4.2 refuses most of these; the others it reads as something nobody meant.
"""

from __future__ import annotations

__all__ = ["BAD", "MALFORMED", "MISFITS", "MISPLACED", "Message"]

Message = str | bytes

RESERVED = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
]
PLACEHOLDER = '{"_placeholder":true,"num":0}'
TWO = "\N{ARABIC-INDIC DIGIT TWO}"
SUPERSCRIPT = "\N{SUPERSCRIPT TWO}"
NO_NUMBERS = [
    "NaN",
    "-NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1" * 400,
    "1" * 5000,
    "01",
    "+1",
    ".5",
    "1.",
    "1e",
    "--1",
    "0x1",
    TWO,
]
NO_JSON = [
    '["a"',
    '["a"]x',
    '["a"],',
    '["a"]["b"]',
    "['a']",
    '["a",]',
    '[,"a"]',
    '["a" "b"]',
    '["a\x01"]',
    '["a\n"]',
    '["\\x61"]',
    '["\\u12"]',
    '["\\',
    '["a',
    '["a",tru]',
    '["a",undefined]',
    '["a",{1:2}]',
    '["a",{"b"}]',
    '["a",{"b":1,}]',
    '\ufeff["a"]',
    '["a"]\x00',
    '/*x*/["a"]',
]

TYPES: list[Message] = [
    "",
    "x",
    "7",
    "8",
    "9",
    " ",
    "-1",
    ' 2["a"]',
    'e["a"]',
    f'{TWO}["a"]',
    f'{SUPERSCRIPT}["a"]',
    "\x00",
    '["a"]',
    '{"type":2}',
]
EVENTS: list[Message] = [
    "2",
    "21",
    "2null",
    "2true",
    "20.5",
    "2{}",
    '2"a"',
    "2[]",
    "2[1]",
    "2[null]",
    "2[true]",
    "2[[]]",
    "2[{}]",
    '2[["a"]]',
    *(f"2{text}" for text in NO_JSON),
    *(f'2["a",{number}]' for number in NO_NUMBERS),
    *(f'2["{event}"]' for event in RESERVED),
    *(f'2["{event}",{{"REMOTE_ADDR":"10.0.0.1"}},{{"admin":true}}]' for event in RESERVED),
    '2["\\u0063onnect"]',
]
IDS: list[Message] = [
    '2-1["a"]',
    '2-["a"]',
    '2+1["a"]',
    '21.5["a"]',
    '21e5["a"]',
    '20x1["a"]',
    '2abc["a"]',
    f'2{"9" * 16}["a"]',
    f'2{"9" * 400}["a"]',
    f'2{TWO}["a"]',
    f'21{TWO}["a"]',
    f'2{SUPERSCRIPT}["a"]',
    '21 2["a"]',
    '2/,-1["a"]',
]
ACKS: list[Message] = [
    "3",
    "31",
    "3[]",
    "31{}",
    "31null",
    '31"a"',
    "31[",
    "31[NaN]",
    "3-1[]",
    f"3{TWO}[]",
    f"3{'9' * 16}[]",
    "31-1[]",
]
CONNECTIONS: list[Message] = [
    "0[]",
    '0"x"',
    "0null",
    "0true",
    "0{",
    "0{}x",
    '0{"a":NaN}',
    "01-",
    "0x",
    "0/" + "n" * 256,
    "1{}",
    "1[]",
    '1"x"',
    "1null",
    "11-",
    "1x",
    "4",
    '4"x"',
    '4{"message":"x"}',
    '4/nowhere,{"message":"x"}',
]
NAMESPACES: list[Message] = [
    '2/nowhere["a"]',
    "2/nowhere",
    '2/["a"]',
    '2nowhere,["a"]',
    '2,["a"]',
    f'2/{"n" * 256},["a"]',
    "3/nowhere",
]
ATTACHMENTS: list[Message] = [
    f'5["a",{PLACEHOLDER}]',
    f'51["a",{PLACEHOLDER}]',
    f'5-["a",{PLACEHOLDER}]',
    f'5-1-["a",{PLACEHOLDER}]',
    f'51.0-["a",{PLACEHOLDER}]',
    f'51e0-["a",{PLACEHOLDER}]',
    f'5{TWO}-["a",{PLACEHOLDER}]',
    f'5{SUPERSCRIPT}-["a",{PLACEHOLDER}]',
    f'5 1-["a",{PLACEHOLDER}]',
    f'51- ,["a",{PLACEHOLDER}]',
    '50-["a"]',
    f'511-["a",{PLACEHOLDER}]',
    f'59999999999-["a",{PLACEHOLDER}]',
    f'5{"9" * 5000}-["a",{PLACEHOLDER}]',
    "51-",
    "51-{}",
    "51-[]",
    "51-[1]",
    f"51-[{PLACEHOLDER}]",
    '51-["disconnect"]',
    '51-["a"',
    f"6[{PLACEHOLDER}]",
    "60-1[]",
    f"61-[{PLACEHOLDER}]",
    "61-1{}",
    "61-1",
    f"611-1[{PLACEHOLDER}]",
    f'21-["a",{PLACEHOLDER}]',
    f"31-1[{PLACEHOLDER}]",
    "01-{}",
]
NESTING: list[Message] = [
    "2" + "[" * 300,
    "2" + "[" * 100_000,
    '2["a",' + "[" * 200 + "]" * 200 + "]",
    '2["a",' + "[" * 900 + "]" * 900 + "]",
    '2["a",' + '{"a":' * 200 + "1" + "}" * 200 + "]",
    '2["a",' + '[{"[]]]]]":' * 100 + "1" + "}]" * 100 + "]",
    "31" + "[" * 201 + "]" * 201,
    '0{"a":' + "[" * 300 + "]" * 300 + "}",
]

BYTES: list[Message] = [b"", b"\x00", b'2["a"]']

MALFORMED: list[Message] = [
    *TYPES,
    *EVENTS,
    *IDS,
    *ACKS,
    *CONNECTIONS,
    *NAMESPACES,
    *ATTACHMENTS,
    *NESTING,
    *BYTES,
]
"""The first messages of packets that nobody may send at any time."""

MISPLACED: list[Message] = [
    "0",
    "01",
    "0{}",
    '2/nowhere,["a"]',
    '2//,["a"]',
    '2/ ,["a"]',
    "1/nowhere",
    "1/nowhere,",
    "1/nowhere?a=1,",
    "3/nowhere,1[]",
    f'51-/nowhere,["a",{PLACEHOLDER}]',
]
"""Packets that a client may not send that has joined `/` and nothing else."""

MISFITS: list[list[Message]] = [
    *(
        ['51-["a",{"_placeholder":true' + num + "}]", b"\x00"]
        for num in (
            "",
            ',"num":1',
            ',"num":7',
            ',"num":-1',
            ',"num":0.0',
            ',"num":"0"',
            ',"num":null',
            ',"num":true',
            ',"num":[0]',
        )
    ),
    [f'51-["a",{PLACEHOLDER},{PLACEHOLDER}]', b"\x00"],
    [f'52-["a",{PLACEHOLDER},{PLACEHOLDER}]', b"\x00", b"\x01"],
]
"""The messages of packets whose attachments do not fit."""

BAD: list[list[Message]] = [
    *([message] for message in (*MALFORMED, *MISPLACED)),
    *MISFITS,
    *([f'51-["a",{PLACEHOLDER}]', text] for text in ("", '2["text"]', "1", "0")),
    [f'51-["a",{PLACEHOLDER}]', b"\x00", b"\x01"],
]
"""All of these, and bytes and text in each other's place."""
