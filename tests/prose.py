"""May this text be typed? Text and formulas that show what is written, and no result.

JupyterLab, VS Code and the PDF make different things of Markdown and TeX, so that little of it is
allowed. Numbers are looked for in what a reader reads, without what only formats it.
"""

import re
import unicodedata
from collections.abc import Iterator, Set

import mistune

# Numbers that may be typed: what the assignment states, what a derivation makes of that, what an
# experiment is set to. Never what was measured: that is computed by the cell that shows it.
STATED = {
    *"0 1 2 3 4 5 6 7 8 9 10".split(),
    # the data, the network, its training, and what the reference hand-in counts
    *"784 785 789 10,000 20,000 20,001 60,000".split(),
    *"16 32 50 58 59 64 128 0.02 0.1 0.9 1.7159 50,880 50,890".split(),
    # the terms of Task 2d; grids, the bits of a float64 and of exact sums, a tolerance
    *"640 50,240 16 19 38 53 12 1e-12".split(),
    # other learning rates, another width
    *"0.002 0.005 0.01 0.05 0.2 256".split(),
    # steps and images that are looked at, figures
    *"20 125 1250 1,250 5000 2000 2,000 11 13 14 15".split(),
    # years of references
    *"1998 2010 2015".split(),
}
NAME_WITH_DIGITS = re.compile(
    r"TDT4265|IEEE 754|(?<!\.)\b[1-4][a-f]\b(?![-+]\d)|(?:Figure|Table) 1?\d(?!\.?\d)"
)
NUMBER = re.compile(
    r"\d+(?:(?:[.,]| +| *\n *)\d+)*(?:e[-+]?\d+)?(?:\s*%)?|per ?cent(?!il)\w*"
    r"|(?:\w+ty-|point )(?:zero|one|two|three|four|five|six|seven|eight|nine)\b",
    re.IGNORECASE,
)

# TeX that draws something, so that the numbers on both sides of it are two
SYMBOLS = {
    *r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota".split(),
    *r"\kappa \lambda \mu \nu \xi \pi \rho \sigma \tau \upsilon \phi \varphi \chi \psi".split(),
    *r"\omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega \ell \nabla".split(),
    *r"\partial \infty \prime \top \sum \prod \int \frac \tfrac \dfrac \sqrt \exp \ln".split(),
    *r"\log \max \min \arg \tanh \sinh \cosh \cdot \times \odot \otimes \oplus \circ".split(),
    *r"\div \pm \leq \geq \le \ge \neq \ne \ll \gg \approx \equiv \sim \simeq \propto".split(),
    *r"\in \notin \subset \cup \cap \forall \exists \to \rightarrow \leftarrow \mapsto".split(),
    *r"\Rightarrow \Leftrightarrow \implies \iff \mid \lfloor \rfloor \lceil \rceil".split(),
    *r"\langle \rangle \vert \Vert \lvert \rvert \lVert \rVert \dots \ldots \cdots".split(),
    *r"\vdots \ddots \quad \qquad \begin \end \\ \{ \} \|".split(),
}
# TeX that letters or places what it is given, so that the numbers on both sides may be read as one
LAYOUT = {
    *r"\mathbf \mathrm \mathit \mathsf \mathtt \mathcal \mathbb \boldsymbol \operatorname".split(),
    *r"\text \textbf \textit \left \right \big \Big \bigl \bigr \Bigl \Bigr \boxed \hat".split(),
    *r"\bar \tilde \vec \dot \ddot \overline \widehat \widetilde \underbrace \overbrace".split(),
    *[r"\displaystyle", r"\textstyle", r"\,", r"\;", r"\:", "\\ ", "\\\n"],
}
ENVIRONMENTS = {*"aligned gathered split cases pmatrix bmatrix vmatrix".split()}
ESCAPES = {r"\*", r"\_", r"\#", r"\|"}  # outside of formulas
COMMAND = re.compile(r"\\(?:[a-zA-Z]+|.|$)", re.DOTALL)
ENVIRONMENT = re.compile(r"\\begin(?:\{(\w+)\})?")
ARRAY = re.compile(r"(\\begin\{.*\\end\{\w+\})", re.DOTALL)
PLACED = re.compile(r"\\(?:begin|end)\{(?:aligned|gathered|split)\}")  # without delimiters
COLUMNS = re.compile(r"&((?:[^&\\]|\\[^\\])*&?)")  # of aligned: two stand side by side, then a gap
NUMERATOR = re.compile(r"(\\[td]?frac(?:\d|\{(?:[^{}]|\{[^{}]*\})*\}))")
EXPONENT = re.compile(r"\^\{([^{}]+)\}")
OVERLAP = re.compile(r"\\\\\[\s*-[^]]*\]?")
EMPTY = re.compile(r"\{\s*\}")
LISTED = re.compile(r"(?:\[|\\\{|_\{|(?<=[\w}])\()-?\d+(?:,-?\d+)+(?=[])}]|\\\})")  # as in [64,10]
BLANK = re.compile(r"[{}_~]|(?<!,)\s+")  # of a formula
FORMAT = re.compile(r"\\?[_`~[]|(?<!\s)\*+|\*+(?!\s)")  # of Markdown
TARGET = re.compile(r"\]\([^)]*\)")  # of a link
LINK = re.compile(r"https?://|[^:]*$")

CHARACTER = re.compile("[\n -~À-ÖØ-öø-žΑ-ω×±°≈≤≥−–—‘’“”…→▲▼]")  # noqa: RUF001
ENTITY = r"&#\w+;|&\w{2,};"
MARKUP = re.compile(rf"<(?![\s\d=]|$)|!\[|```|~~|{ENTITY}")
TAG = re.compile(rf"<[a-zA-Z/!?][^>]*>|{ENTITY}")  # in a formula i<j may be written
MARKER = re.compile(r"nbval|pytest", re.IGNORECASE)
PARTS = {  # of Markdown, as mistune names them
    *"blank_line paragraph heading block_text list list_item block_quote thematic_break".split(),
    *"table table_head table_body table_row table_cell block_math inline_math".split(),
    *"text emphasis strong codespan link linebreak softbreak".split(),
}
PARTS_OF_OUTPUTS = PARTS | {"block_code python"}  # the source of a function, say
TYPED = "which is typed: expected a cell that computes and shows it"


def text_problems(text: str) -> Iterator[str]:
    """Check text that a reader sees as it was typed."""
    text = unicodedata.normalize("NFC", text)
    if strange := set(CHARACTER.sub("", text)):
        yield f"has the characters {sorted(strange)}, expected those of CHARACTER in tests/prose.py"
    if found := MARKER.search(text):
        yield f"speaks of {found[0]}, under which it may be running"
    pieces = re.split(r"\$\$?", text)
    if not len(pieces) % 2:
        yield "has a $ without another, expected formulas between two"
    for prose in pieces[::2]:
        if found := MARKUP.search(prose):
            yield f"has markup, {found[0]!r}: expected Markdown text, and a space behind <"
        for command in set(COMMAND.findall(prose)) - ESCAPES:
            yield f"has {command} outside of formulas, expected {' '.join(sorted(ESCAPES))} only"
    for formula in pieces[1::2]:
        yield from formula_problems(formula)
    for number in NUMBER.findall(as_read(text)):
        if number not in STATED:
            yield f"states {number}, {TYPED}"


def formula_problems(tex: str) -> Iterator[str]:
    """Check that a formula shows what is written."""
    for command in set(COMMAND.findall(tex)) - SYMBOLS - LAYOUT:
        yield f"has {command}, expected TeX of SYMBOLS or LAYOUT in tests/prose.py, such as \\frac"
    for name in set(ENVIRONMENT.findall(tex)) - ENVIRONMENTS:
        yield f"has an environment {name!r}, expected {', '.join(sorted(ENVIRONMENTS))}"
    if found := TAG.search(tex):
        yield f"has markup, {found[0]!r}: expected TeX, and a space behind <"
    if found := OVERLAP.search(tex):
        yield f"has {found[0]}, which draws a row over another"
    if "%" in tex:
        yield "has % in a formula, which hides the rest of its line"
    if EMPTY.search(without_layout(tex)):
        yield "has {} in a formula, expected something that shows in all braces"


def as_read(text: str) -> str:
    """Return text without what formats it; where links lead stands at the end."""
    text = LISTED.sub(lambda several: several[0].replace(",", ", "), text)
    pieces = re.split(r"\$\$?", NAME_WITH_DIGITS.sub("name", text))
    pieces[::2] = [FORMAT.sub("", TARGET.sub("", prose)) for prose in pieces[::2]]
    pieces[1::2] = map(formula_as_read, pieces[1::2])
    return " and ".join(["".join(pieces), *TARGET.findall(text)])


def formula_as_read(tex: str) -> str:
    """Return a formula on one line, without spaces except behind commas."""
    pieces = ARRAY.split(tex)  # outside of which MathJax breaks no line
    pieces[::2] = [piece.replace(r"\\", "") for piece in pieces[::2]]
    tex = "".join(pieces)
    if PLACED.search(tex):
        tex = PLACED.sub("", COLUMNS.sub(r"\1", tex))
    tex = without_layout(NUMERATOR.sub(r"\1/", tex))
    return BLANK.sub("", EXPONENT.sub(r"^(\1)", tex))


def without_layout(tex: str) -> str:
    """Return a formula without the commands that draw nothing."""
    return COMMAND.sub(lambda found: "" if found[0] in LAYOUT else found[0], tex)


def markdown_problems(source: str, allowed: Set[str] = PARTS) -> Iterator[str]:
    """Check that Markdown has no parts that hide something, or look like an output."""
    plugins = ["math", "table", "strikethrough", "task_lists", "def_list"]
    parts, state = mistune.create_markdown(renderer=None, plugins=plugins).parse(source)
    if state.env["ref_links"]:
        yield f"defines {', '.join(state.env['ref_links'])}, which nobody sees"
    while parts:
        part = parts.pop()
        parts += part.get("children", [])
        about = part.get("attrs", {})
        kind = f"{part['type']} {about.get('info', '')}".strip()
        if kind not in allowed:
            yield f"has {kind}, {part.get('raw', '')!r}: expected text, tables and formulas"
        if "title" in about:
            yield f"has a link with the title {about['title']!r}, which nobody sees"
        if not LINK.match(about.get("url", "")):
            yield f"has a link to {about['url']}, expected a page or a file"
