import pytest

from tests.prose import (
    ENVIRONMENTS,
    LAYOUT,
    SYMBOLS,
    as_read,
    markdown_problems,
    text_problems,
)


def problems(text):
    return [*text_problems(text), *markdown_problems(text)]


DIGITS = "zero one two three four five six seven eight nine".split()
# text, and words of the message that it must get
NUMBERS = {
    "The accuracy is 0.9712.": "states 0.9712,",
    "It stops after 31,250 steps.": "states 31,250,",
    "It is 5 %.": "states 5 %,",
    "It is 5%.": "states 5%,",
    "About 1 %.": "states 1 %,",
    "A loss of 1e-3": "states 1e-3,",
    "A loss of 1E5": "states 1E5,",
    "21": "states 21,",
    "20000": "states 20000,",
    "A third per cent": "states per cent,",
    "Ninety-seven percent": "states percent,",
    "Its percentage": "states percentage,",
    "0.9**7**1": "states 0.971,",
    "0.9*7*": "states 0.97,",
    "0.9`7`": "states 0.97,",
    "0.9_7_": "states 0.97,",
    "0.9\\_7": "states 0.97,",
    "0.9 7": "states 0.9 7,",
    "97 000": "states 97 000,",
    "9 7": "states 9 7,",
    "0.9\n7": "states 0.9\n7,",
    "0.9[7](https://a.b)": "states 0.97,",
    "[0.9](https://a.b)7": "states 0.97,",
    "[0.9](https://a.b)[7](https://a.b)": "states 0.97,",
    "`[0](0.97)`": "states 0.97,",
    "see [the text](https://a.b/97)": "states 97,",
    "[9,7": "states 9,7,",
    "(9,7)": "states 9,7,",
    "Figure 97": "states 97,",
    "Figure 9.7": "states 9.7,",
    "Picture 23": "states 23,",
    "Table 1**97**": "states 97,",
    "step 4a97": "states 97,",
    "4a.97": "states 97,",
    "9.1a": "states 9.1,",
    "4e-4": "states 4e-4,",
    "4e3": "states 4e3,",
    "974a": "states 974,",
    "0.9 *7*": "states 0.9 7,",
    "0.9 \n 7": "states 0.9 \n 7,",
    # in formulas
    "$C = 0.1471$": "states 0.1471,",
    "0.9$7$": "states 0.97,",
    "$0.9$$7$": "without another",
    "$0.9$ $7$": "states 0.9 7,",
    "$[97,12]$": "states 97,",
    r"$\{0,97\}$": "states 97,",
    r"$0.9\,7 1$": "states 0.971,",
    r"$0.9\;7$": "states 0.97,",
    r"$0.9\ 7$": "states 0.97,",
    "$0.9\\\n7$": "states 0.97,",
    "$0.9 7$": "states 0.97,",
    "$0.9~7$": "states 0.97,",
    "$0.9_7$": "states 0.97,",
    "$0.9{7}$": "states 0.97,",
    "${0.9}{7}$": "states 0.97,",
    "${0.9} 7$": "states 0.97,",
    "$9. 7$": "states 9.7,",
    "$9 . 7$": "states 9.7,",
    "$9{.}7$": "states 9.7,",
    "$9{,}7$": "states 9,7,",
    r"$9,\ 7$": "states 9,7,",
    r"$9.\,7$": "states 9.7,",
    r"$0.9\mathrm{7}$": "states 0.97,",
    r"$0.9\text{7}$": "states 0.97,",
    r"$0.9\operatorname{7}$": "states 0.97,",
    r"$0.9\left.7\right.$": "states 0.9.7,",
    r"$0.9\hat 7$": "states 0.97,",
    r"$\boxed{0.9}\boxed{7}$": "states 0.97,",
    r"$0.9\displaystyle 7$": "states 0.97,",
    r"$\frac{97}{100}$": "states 97,",
    r"$\frac{9}{7}7$": "states 77,",
    r"$\frac{97}1$": "states 97,",
    r"$\begin{aligned} 0.9&7 \end{aligned}$": "states 0.97,",
    "$$\n\\begin{aligned}\n0.9\n& 7\n\\end{aligned}\n$$": "states 0.97,",
    r"$0.9\begin{gathered}7\end{gathered}$": "states 0.97,",
    r"$\begin{split}0.9\end{split} 7$": "states 0.97,",
    r"$\begin{aligned} a &= 1 \\ 0.9 & 7 \end{aligned}$": "states 0.97,",
    r"$\begin{aligned} a &= \alpha & 0.9 & 7 \end{aligned}$": "states 0.97,",
    r"$0.9\begin{aligned}\begin{aligned}7\end{aligned}\end{aligned}$": "states 0.97,",
    r"$2^{97}$": "states 97,",
    r"$0.9 \\ 7$": "states 0.97,",
    r"$\begin{aligned} a \end{aligned} 0.9 \\ 7$": "states 0.97,",
    **{f"Ninety-{n} images": f"states Ninety-{n}," for n in DIGITS},
    **{f"nought point {n}": f"states point {n}," for n in DIGITS},
}
HIDDEN = {
    # characters
    "\u200b": "has the characters ['\\u200b']",
    "\u3164": "has the characters",
    "\u0336": "has the characters",
    "\xa0": "has the characters",
    "\u202e": "has the characters",
    "a\tb": "has the characters ['\\t']",
    "x\b": "has the characters",
    "\x1b[8m": "has the characters",
    "\uff19\uff17": "has the characters ['\uff17', '\uff19']",
    "9\uff0e7": "has the characters",
    "9 \uff05": "has the characters",
    "½": "has the characters ['½']",
    "٣": "has the characters ['٣']",
    "x²": "has the characters ['²']",
    "9\u00b77": "has the characters",
    "①": "has the characters ['①']",
    "Ⅸ": "has the characters ['Ⅸ']",
    "\U0001d7d7": "has the characters",
    "асс": "has the characters",  # noqa: RUF001
    "\ue000": "has the characters",
    # markup
    "<style>.output {display: none}</style>": "has markup, '<'",
    "<b>": "has markup, '<'",
    "a $b$ <b>": "has markup, '<'",
    "</b>": "has markup, '<'",
    "<div": "has markup, '<'",
    "<!-- hidden -->": "has markup, '<'",
    "<? hidden ?>": "has markup, '<'",
    "<https://a.b>": "has markup, '<'",
    '<b title="$">a</b>$': "has markup, '<'",
    "$x<b onclick=alert>y$": "has markup, '<b onclick=alert>'",
    "$x<!-- y -->$": "has markup, '<!-- y -->'",
    "$x</b>$": "has markup, '</b>'",
    "a &lt; b": "has markup, '&lt;'",
    "0.9&#55;": "has markup, '&#55;'",
    "0.9&#7;": "has markup, '&#7;'",
    "$0.9&#x37;$": "has markup, '&#x37;'",
    "$a &lt; b$": "has markup, '&lt;'",
    "![accuracy](a.png)": "has markup, '!['",
    "![accuracy][a]": "has markup, '!['",
    "```\nresult\n```": "has markup, '```'",
    "> ```\n> result\n> ```": "has markup, '```'",
    "a\n ```": "has markup, '```'",
    "~~~\nresult\n~~~": "has markup, '~~'",
    "~~wrong~~": "has strikethrough",
    "\n\n    result": "has block_code, 'result",
    "    Accuracy: all agree": "has block_code",
    "> a\n>\n>     True": "has block_code, 'True",
    "- a\n\n      True": "has block_code",
    "[//]: # (hidden)": "defines //, which",
    "> [//]: # (hidden)": "defines //, which",
    "[a]: https://a.b": "defines A, which",
    '[a](https://a.b "hidden")': "has a link with the title 'hidden'",
    "[a](javascript:alert)": "has a link to javascript:alert, expected",
    "[a](data:text/html,b)": "has a link to data:text/html,b, expected",
    "- [x] agrees": "has task_list_item",
    "accuracy\n: best": "has def_list",
    # TeX
    r"$\unicode{x37}$": r"has \unicode, expected TeX",
    r"$a$ $\unicode{x37}$": r"has \unicode, expected TeX",
    r"$\phantom{hidden}$": r"has \phantom,",
    r"$\vphantom{x}$": r"has \vphantom,",
    r"$\style{display: none}{hidden}$": r"has \style,",
    r"$\colorbox{black}{hidden}$": r"has \colorbox,",
    r"$\color{white} x$": r"has \color,",
    r"$\textcolor{white}{x}$": r"has \textcolor,",
    r"$\mathchoice{a}{b}{c}{d}$": r"has \mathchoice,",
    r"$\def\a{b}$": r"has \def,",
    r"$\newcommand{\frac}[1]{}$": r"has \newcommand,",
    r"$\let\leq\geq$": r"has \let,",
    r"$\renewcommand{\leq}{\geq}$": r"has \renewcommand,",
    r"$a \smash{b}$": r"has \smash,",
    r"$\rlap{a}b$": r"has \rlap,",
    r"$\hspace{9em}$": r"has \hspace,",
    r"$\kern9em$": r"has \kern,",
    r"$a \!\! b$": r"has \!,",
    r"$\tiny x$": r"has \tiny,",
    r"$\scriptscriptstyle x$": r"has \scriptscriptstyle,",
    r"$\not= x$": r"has \not,",
    r"$\cancel{x}$": r"has \cancel,",
    r"$\raise{9em}{x}$": r"has \raise,",
    r"$\rule{9em}{9em}$": r"has \rule,",
    r"$\tag{a}$": r"has \tag,",
    r"$\href{https://a.b}{x}$": r"has \href,",
    r"$\char`\a$": r"has \char,",
    r"$\overset{a}{b}$": r"has \overset,",
    r"$\substack{a}$": r"has \substack,",
    r"$\%$": r"has \%,",
    r"It is 5$\%$.": r"has \%,",
    r"$\begin{array}{c}a\end{array}$": "has an environment 'array', expected aligned,",
    r"$\begin{matrix}a\end{matrix}$": "has an environment 'matrix'",
    r"$\begin {aligned}a\end {aligned}$": "has an environment ''",
    r"$\begin{cases}a \\[-1.5em] b\end{cases}$": r"has \\[-1.5em], which draws",
    r"$\begin{cases}a \\[ -9em] b\end{cases}$": r"has \\[ -9em], which draws",
    "$a % hidden\n$": "has % in a formula",
    "$a {} b$": "has {} in a formula",
    "$a { } b$": "has {} in a formula",
    r"$0.9^{\,}7$": "has {} in a formula",
    r"$0.9\frac{}{ }7$": "has {} in a formula",
    r"\begin{align*}a\end{align*}": r"has \begin outside of formulas",
    r"9\.7": r"has \. outside of formulas, expected \# \* \_ \|",
    r"\unicode{x37}": r"has \unicode outside of formulas",
    "a\\\nb": "outside of formulas",
    r"\$a\$": "has \\ outside of formulas",
    "costs $": "has a $ without another",
    # what knows where it runs
    "NBVAL_IGNORE_OUTPUT": "speaks of NBVAL,",
    "# PyTest_Validate": "speaks of PyTest,",
}
READ = [
    r"With $i<j$ and $0 < x$, $\frac{2}{3}$, $\begin{aligned} a &= 1; \\ 0 & x \end{aligned}$.",
    r"$[0,1]$, $[-1,1]$, $[64,10]$, $w_{1,2}$, $20{,}000$, $i<j \le n$, $0<x < 1$, 2 * 3.",
    r"IEEE 754, SHA-256, $\frac{e^{2}}{2} + \tfrac{1}{2}$, $f(1,2)$, $10^{-12}$",
    r"$\begin{aligned} x &= 0 & 1 &= y \\ a &= 1, & 2 &= b \end{aligned}$, [code](task2a.py)",
    r"R&D; $\frac{1}{2} x$ and $\mathcal{N}(0,1)$, a < b, i > j, [64, 10].",
    "Mu\u0308ller, Łukasiewicz, Søren: the answer\n\n1. one\n\n    continued",
    "- 1\n- 2\n    - a list\n\n    - in a list\n\n| 1 | 2 |\n|---|---|\n| 3 | 4 |",
    r"$785 n + n^2 + 10 n \leq 50{,}880$, $2^{-19}$, $2^{53}$, rates 0.002, 0.005, 0.01 to 0.2",
    r"$(784 + 1) \cdot 64 + 64 \cdot 10 = 50{,}240 + 640 = 50{,}880$, at most $1/4$",
    r"$f'(z) = \begin{cases} 1 & z > 0 \\ 0 & z < 0 \end{cases}$ and $\sum_{k=1}^{10} y_k$",
    r"$\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}$, $\underbrace{x}_{\text{a sum}}$, $\sqrt{2}$",
    r"$$\left(\tfrac{2}{3} z\right) \quad \hat y_k = \frac{e^{z_k}}{\sum_{k'} e^{z_{k'}}}$$",
    r"$\frac{\partial C}{\partial \mathbf W_2}$, $\frac{C(w_{1}^{2} + h)}{2h}$, $1, 2, \dots$",
    "> Y. LeCun et al.: “Efficient BackProp”, 1998 – [paper](https://a.b/paper.pdf).",  # noqa: RUF001
    "**Task 4a)**, 4e-4f, of TDT4265 in *one* line, `task2a.py`, float64, Figure 11 and Table 13",
    "low → lower ▼, 64 × 10, ± 2, the error rate (%), a percentile, snake\\_case\n\n---\n\nb",
    r"$\begin{cases} 0 \\[5pt] 1 \\ [-1, 1] \end{cases}$, one point, the twenty-sixth",
    "$$\n\\begin{cases}\n1 & z > 0 \\\\\n0 & z < 0\n\\end{cases}\n$$",
    r"$\frac{w_{4}}{3}$, $\tfrac14 + \frac1n$ in snake\_case (%)",
    "Task 3.\n\n4 units, tasks 1, 2 and 3  \nbroken",
]


@pytest.mark.parametrize(("text", "words"), [*NUMBERS.items(), *HIDDEN.items()])
def test_typed_text_is_refused_by_the_rule_for_it(text, words):
    assert words in "\n".join(problems(text))


@pytest.mark.parametrize("text", READ)
def test_text_and_mathematics_are_accepted(text):
    assert problems(text) == []


@pytest.mark.parametrize("command", sorted((SYMBOLS | LAYOUT) - {r"\begin", r"\end"}))
def test_what_a_report_needs_of_tex_is_accepted(command):
    assert problems(f"${command}{{x}}$") == []


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_environments_are_accepted(name):
    assert problems(f"$$\n\\begin{{{name}}}\na &= b\n\\end{{{name}}}\n$$") == []


@pytest.mark.parametrize("command", sorted(SYMBOLS - {r"\begin", r"\end", r"\\"}))
def test_a_symbol_parts_numbers(command):
    assert problems(f"$9 {command} 7$") == []


@pytest.mark.parametrize("command", sorted(LAYOUT))
def test_layout_joins_numbers(command):
    assert "states 97," in "\n".join(problems(f"$9 {command}{{7}}$"))


def test_a_reading_keeps_what_shows():
    text = r"**a** $\tfrac{2}{3} \mathbf W^{2}$, [b](https://a.b)"
    assert as_read(text) == r"a \tfrac2/3W^(2), b and ](https://a.b)"
