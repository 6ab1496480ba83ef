# Texts that a tokenizer finds hard, as bytes. Shared by make_text_golden.py (committed ids) and compare_gemma.py.
import random

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "Write a long essay about Portugal.", "Hello, world! 12345",
    "Ich heiße Jürgen und wohne in Köln; über 30 % der Straßen sind gesperrt.",
    "L’été dernier, nous avons mangé des crêpes à l’œuf près de Saint-Malo.",
    "El niño pidió más piñas, ¿verdad? ¡Qué lástima!", "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Café — κόσμος 🚀",
    "你好，世界！今天天气怎么样？", "吾輩は猫である。名前はまだ無い。カタカナとひらがな。", "안녕하세요, 세계! 한국어 문장입니다.",
    "مرحبا بالعالم، كيف حالك اليوم؟", "שלום עולם, מה שלומך היום?", "नमस्ते दुनिया, आप कैसे हैं?", "สวัสดีชาวโลก วันนี้อากาศดี",
    "Xin chào thế giới, hôm nay trời đẹp quá.", "გამარჯობა მსოფლიო. Բարեւ աշխարհ. ሰላም ዓለም።", "வணக்கம் உலகம் · ನಮಸ್ಕಾರ ಜಗತ್ತು · ជំរាបសួរ",
    "def f(x: int) -> int:\n    return {k: v**2 for k, v in enumerate(range(x))}[0]  # comment\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n", "SELECT * FROM t WHERE a >= 3 AND b LIKE '%x%';",
    '{"name":"ada","age":36,"tags":["a","b"],"x":null,"y":-1.5e-7}', "<html><body class=\"x\"><p>Hi &amp; bye</p></body></html>",
    "\\begin{equation} e^{i\\pi} + 1 = 0 \\end{equation}", "git commit -m 'fix: $HOME/.config' && rm -rf ./build | tee log.txt",
    "https://example.org/path?q=1&r=%20x#frag user@example.org +49 (0)30 1234-5678", "3.14159265358979 1e100 0xDEADBEEF 1_000_000",
    "😀😃😄 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 ❤️ ☃ 🧑🏿‍🚀", "e\u0301 vs é, ﬁ ligature, Å (Angstrom) Å, 𝒳𝓎𝓏 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "  spaced  text\n", "▁already▁▁lower▁blocks ▁ mixed", "\ufeffBOM at the start", "zero\u200bwidth\u200djoin\u2060er \u202eoverride\u202c",
    "\u0000\u0001\u0007\u001b[31mred\u001b[0m\u007f\u0085\u009f", "tabs\t\tand\r\nlines\r\rand\u2028separators\u2029", "nbsp\u00a0here\u3000wide",
    "\U0010ffff\ue000\ufffd\ufffe\U000e0041", "ꙮ𐍈𓀀𠜎𪛖", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!", "sort 7 3 9 1", "json name=ada age=36 city=rome",
    "user\nmodel\nsystem thought\n\n\n\n\n", "<0x41><0xE2><0x96>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]

CONTROL = [
    "<bos><|turn>user\nHello<turn|>\n<|turn>model\n", "<|channel>thought\nplan<channel|><|tool_call>call:f{}<tool_call|>",
    "<|turn", "<<|turn>>", "<|turn><|turn><turn|><turn|>", "<turn|", "<|<|tool|>", "<|tool_call>call:x{a:<|\"|>b<|\"|>}<tool_call|><|tool_response>",
    "<eos>x<pad>y<unk>z<mask>", "a<|image|>b<|image>c<image|>", "<start_of_turn>user\nhi<end_of_turn>\n<start_of_image>", "</s><s><unused7><unused99>[multimodal]<table><tr>",
    " <bos> ", "<BOS>", "< bos>", "<bos\u0000>", "<|think|>\n", "<|\"|>", "<|audio|><|video|>",
]

INVALID = [
    b"\xff", b"\x80abc", b"abc\xc3", b"\xe2\x82", b"\xe2\x82\xac\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98",
    b"\xf0\x9f\x98\x80\xf0\x9f", b"a\xf0\x80\x80b", b"\xe2(\xa1", b"\xfe\xfe\xff\xff", b"ok \xc3\xa9 bad \xe9 end", b"<|tu\xffrn>", b"<bos>\xe2\x96<eos>",
    bytes(range(256)), bytes(range(255, -1, -1)),
]


def whitespace_runs():
    for n in [1, 2, 3, 4, 7, 8, 15, 16, 30, 31, 32, 33, 64, 100]:
        for c in " \n\t▁":
            yield ("a" + c * n + "b").encode()
    for s in [" \n \n", "\n\t\n", "\r\n\r\n", " \t \t", "\n ", " \n", "   \n\n   x", "\u3000\u3000"]:
        yield s.encode()


def random_texts(count, seed, longest=200):
    r = random.Random(seed)
    pieces = [w for s in SENTENCES for w in s.split(" ")] + CONTROL
    pools = ["abcdefghijklmnopqrstuvwxyz", "ab", " \n\t", "0123456789.,-", "<|>/turnbos_\"", "éüßñçøåł", "的一是不了人我在有他", "▁ a", "🙂👍🏽‍️🇩"]
    for i in range(count):
        n = r.randrange(1, longest)
        kind = i % 4
        if kind == 0:
            yield " ".join(r.choice(pieces) for _ in range(n // 8 + 1)).encode()
        elif kind == 1:
            pool = r.choice(pools)
            yield "".join(r.choice(pool) for _ in range(n)).encode()
        elif kind == 2:
            yield "".join(chr(c) for c in (r.randrange(1, 0x110000 if r.random() < 0.3 else 0x3100) for _ in range(n))
                          if not 0xD800 <= c < 0xE000).encode()
        else:
            b = bytearray(r.choice(SENTENCES).encode())
            for _ in range(r.randrange(1, 6)):
                b[r.randrange(len(b))] = r.randrange(256)
            yield bytes(b)


def all_samples(random_count, seed):
    out = [s.encode() for s in SENTENCES + CONTROL] + INVALID + list(whitespace_runs()) + [b""]
    return out + list(random_texts(random_count, seed))
