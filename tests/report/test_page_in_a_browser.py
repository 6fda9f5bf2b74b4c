"""The page in a browser, which shows it whole on a phone and on a desk, by pointer and by keyboard."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from report.chromium import Browser, browser, missing

from replication.report.claims import Evidence
from replication.report.page import LONG, write_page

WIDTHS = {"phone": 390, "desk": 1440}
TAB = "\ue004"
ENTER = "\ue007"
FIRST_FIGURE, FIRST_ROW = "#tiny-cpu tr[id] td:nth-child(3)", "#tiny-cpu tr[id] th a"
SMALLEST, CONTRAST, GRAPHIC_CONTRAST = (
    9.0,
    4.5,
    3.0,
)  # CSS pixels; the ratios that WCAG's level AA asks of text and lines

# (text, size on the screen, contrast with what is behind it) of every piece of visible text
LOOKS = """
  const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => { const [r, g, b] = numbers(colour).map(channel); return .2126 * r + .7152 * g + .0722 * b };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor, parts = numbers(colour);
      if (parts.length < 4 || parts[3] === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), scale = element.ownerSVGElement?.getScreenCTM().a ?? 1;
    const colours = [element.ownerSVGElement ? style.fill : style.color, behind(element)].map(light).sort((a, b) => b - a);
    found.push([node.data.trim(), parseFloat(style.fontSize) * scale, (colours[0] + 0.05) / (colours[1] + 0.05)]);
  }
  return found;
"""


# the contrast of each line of a chart or bar
GRAPHIC = """
  return [...document.querySelectorAll('.panels g path.line, .bar .at')].map((line) => {
    const colours = [getComputedStyle(line).stroke, behind(line.closest('figure') ?? line.closest('.verdict'))].map(light).sort((a, b) => b - a);
    return (colours[0] + 0.05) / (colours[1] + 0.05);
  });
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if absent := missing():
        pytest.skip(f"{absent} not installed (Debian: chromium, chromium-driver)")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(evidence: list[Evidence], results: Path) -> Path:
    return write_page(evidence, results)


# elements with more aside than they show, and whether they say so
ASIDE = """
  return [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()
      && element.scrollWidth > element.clientWidth + 1 && /auto|scroll|hidden/.test(getComputedStyle(element).overflowX))
    .map((element) => [element.className, getComputedStyle(element, '::before').content]);
"""
# links within the page whose target is not seen after they were followed: [target, its place, its height]
LANDINGS = """
  const off = [], frame = () => new Promise((done) => requestAnimationFrame(done)), patience = 10_000; // ms
  const place = (hash) => document.getElementById(hash.slice(1))?.getBoundingClientRect() ?? { top: -1, height: 0 };
  const seen = ({ top, height }) => {
    const above = document.querySelector('nav').getBoundingClientRect().bottom;
    const last = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    return height > 0 && top >= above - 1 && top < (last ? innerHeight : innerHeight / 2);
  };
  for (const hash of new Set(LINKS)) {
    location.hash = hash;
    const until = performance.now() + patience;
    do await frame(); while (!seen(place(hash)) && performance.now() < until);
    if (!seen(place(hash))) off.push([hash, place(hash).top, place(hash).height]);
  }
  return off;
"""


def open_all(tab: Browser) -> None:
    """Every part that is closed; what was text is in the document then."""
    tab.run("for (const part of document.querySelectorAll('details')) part.open = true")
    tab.wait("return document.querySelector('noscript') === null")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page_is_whole_and_legible(tab: Browser, path: Path, width: int, dark: bool) -> None:
    """Catches a table wider than the page, a script that fails, a request, a picture that is none, grey on grey."""
    tab.requests(), tab.console()
    tab.open(path, width, dark=dark)
    assert tab.run("return document.images.length") == 0
    open_all(tab)
    tab.run("location.hash = document.querySelector('tr[id]').id")
    tab.wait("return document.querySelector('.record')")
    assert tab.run(
        "return document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
    )
    assert tab.run("return document.title")
    assert tab.run("return document.querySelector('.record dd').checkVisibility()")
    assert tab.run("return [...document.images].filter(i => i.alt && i.width && i.height).length") == 2
    assert tab.run(
        "return Promise.all([...document.images].map(i => i.decode())).then(() => [...document.images].every(i => i.naturalWidth))"
    )
    aside = tab.run(ASIDE)
    assert aside
    assert [part for part in aside if "scroll sideways" not in part[1]] == []
    looks = tab.run(LOOKS)
    assert len(looks) > 100
    assert [look for look in looks if look[1] < SMALLEST] == []
    assert [look for look in looks if look[2] < CONTRAST] == []
    lines = tab.run(LOOKS.replace("const found", GRAPHIC + "const found"))
    assert [look for look in lines if look < GRAPHIC_CONTRAST] == []
    assert len(lines) > 5
    assert {r for r in tab.requests() if not r.startswith(("data:", "about:"))} <= {path.as_uri()}
    assert tab.console() == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_every_link_lands_where_it_points(tab: Browser, path: Path, width: int) -> None:
    """Into parts that are closed too. Catches a target behind the bar on top, in a closed part, or moved by a picture."""
    tab.open(path, width)
    open_all(tab)
    links = tab.run("return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))")
    assert len(links) > 60
    tab.open(path, width)
    assert tab.run(f"return (async () => {{{LANDINGS.replace('LINKS', json.dumps(links))}}})()") == []


def test_link_followed_while_another_row_opens_stays_where_it_landed(tab: Browser, path: Path) -> None:
    """The content of a row comes in its own time: it may not push away what was asked for after it."""
    tab.open(path, WIDTHS["phone"])
    open_all(tab)
    first, second = tab.run("return [...document.querySelectorAll('#tiny-cpu tr[id]')].slice(0, 2).map(row => row.id)")
    tab.run(f"""
      const quick = unpacked;
      unpacked = async (script) => {{
        const late = location.hash === '#{first}', content = await quick(script);
        if (late) await new Promise((done) => setTimeout(done, 500));
        if (late) window.came = true;
        return content;
      }};
      location.hash = '{first}';
      setTimeout(() => {{ location.hash = '{second}'; }}, 100);
    """)
    tab.wait("return window.came && document.querySelector('.record')")
    assert tab.run("return [...document.querySelectorAll('.record')].map(part => part.previousElementSibling.id)") == [
        second
    ]
    assert 0 < tab.run(f"return document.getElementById('{second}').getBoundingClientRect().top") < 450


def test_what_decides_is_seen_on_a_phone(tab: Browser, path: Path) -> None:
    """Of each row its distance, of each reading its verdict, and the answer in the first screen, without scrolling aside."""
    tab.open(path, WIDTHS["phone"], 844)
    seen = (
        "const box = element.getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth && box.width > 0"
    )
    assert tab.run("return document.querySelector('.lead').getBoundingClientRect().bottom < innerHeight")
    open_all(tab)
    tab.run("location.hash = document.querySelector('#tiny-cpu tr[id]').id")
    tab.wait("return document.querySelector('.record')")
    tab.wait("return document.querySelector('#tiny-cpu .scroll').scrollLeft === 0")
    for selector in ("#tiny-cpu tr[id] td:nth-child(3)", "#claim-tiny-few tbody td:nth-child(2)"):
        assert tab.run(f"const element = document.querySelector('{selector}'); {seen}")
    heading = "return [...document.querySelectorAll('{} thead tr')][0].cells[{}].textContent"
    assert tab.run(heading.format("#tiny-cpu", 2)) == "FD-digits"
    assert tab.run(heading.format("#claim-tiny-few", 1)) == "verdict"


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_figure_shows_its_protocol_and_leads_to_its_row(tab: Browser, path: Path, width: int) -> None:
    """By pointer and by keyboard. Catches a card that stays, one off the screen, a row that never opens."""
    tab.open(path, width)
    open_all(tab)
    card = """
      const card = document.querySelector('#tiny-cpu .tip0'), box = card.getBoundingClientRect();
      return getComputedStyle(card).visibility === 'visible' && card.textContent.includes('quantizer round')
        && box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
    """
    hidden = "return getComputedStyle(document.querySelector('#tiny-cpu .tip0')).visibility === 'hidden'"
    assert not tab.run(card)
    tab.point(FIRST_FIGURE)
    tab.wait(card)
    tab.point("#tiny-cpu h2")
    tab.wait(hidden)
    reach(tab, "#tiny-cpu .scroll", FIRST_ROW)
    tab.wait(card)
    assert tab.run("return document.querySelector('.record') === null")
    tab.press(ENTER)
    row = "document.querySelector('#tiny-cpu .record')"
    tab.wait(f"return {row}?.textContent.includes('12.3457')")
    tab.press(ENTER)
    tab.wait(f"return {row} === null")
    tab.click(FIRST_FIGURE)
    tab.wait(f"return {row}?.getBoundingClientRect().height > 200")
    tab.click("#tiny-cpu .record .close")
    tab.wait(f"return {row} === null")
    tab.click(FIRST_FIGURE)
    tab.click(FIRST_FIGURE)
    tab.wait(f"return {row} === null")
    assert tab.console() == []


def reach(tab: Browser, start: str, wanted: str) -> None:
    """From one element by the Tab key to another, which shows that it has the focus."""
    tab.run(f"document.querySelector({start!r}).focus()")
    for _ in range(60):
        tab.press(TAB)
        if tab.run(f"return document.activeElement.matches({wanted!r})"):
            assert tab.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{wanted} is not reached from {start}")


def test_keyboard_opens_filters_and_highlights(tab: Browser, path: Path) -> None:
    """Catches what only a pointer can do, and a focus that is not seen."""
    tab.open(path, WIDTHS["desk"])
    reach(tab, "nav a", ".filter input")
    for key in "few":
        tab.press(key)
    claims = "return [...document.querySelectorAll('details.claim')].filter(c => c.checkVisibility()).length"
    tab.wait("return document.querySelector('.filter output').textContent === '1 found'")
    assert tab.run(claims) == 1
    tab.press("x")
    tab.wait("return document.querySelector('.filter output').textContent === '0 found'")
    assert tab.run(claims) == 0
    tab.run("document.querySelector('.filter input').value = ''")
    reach(tab, ".filter input", ".filter [data-group=untested]")
    tab.press(ENTER)
    assert tab.run(
        "return [...document.querySelectorAll('details.group')].every(g => g.hidden || g.dataset.group === 'untested')"
    )
    reach(tab, ".filter input", ".filter [data-group='']")
    tab.press(ENTER)
    reach(tab, ".filter input", "#claim-tiny-few > summary")
    tab.press(ENTER)
    tab.wait("return document.querySelector('#claim-tiny-few table')?.checkVisibility()")
    reach(tab, "#tiny-cpu h2 ~ .note a", ".legend button.f1")
    tab.press(ENTER)
    tab.run("document.activeElement.blur()")
    tab.wait("""
      const groups = [...document.querySelectorAll('.panels g')];
      return groups.every(g => (getComputedStyle(g).opacity === '1') === g.classList.contains('f1')) && groups.length > 4;
    """)
    assert tab.console() == []


def test_columns_sort_by_number_and_back(tab: Browser, path: Path) -> None:
    """Catches 10 before 2, and rows without a figure on top."""
    tab.open(path, WIDTHS["desk"])
    open_all(tab)
    column = "[...document.querySelectorAll('#tiny-cpu table')][0].tBodies[0].rows"
    column = f"[...{column}].map(line => line.cells[2].innerText.split(/\\s/)[0])"
    head = "document.querySelectorAll('#tiny-cpu th button')[2].click()"
    written = tab.run(f"return {column}")
    assert len(written) > LONG
    up = tab.run(f"{head}; return {column}")
    assert [float(value) for value in up[:-1]] == sorted(float(value) for value in written[:-1])
    down = tab.run(f"{head}; return {column}")
    assert [float(value) for value in down[:-1]] == [float(value) for value in up[:-1]][::-1]
    assert up[-1] == down[-1] == "not"
    assert tab.run(f"{head}; return {column}") == written


def test_page_says_the_same_without_scripts(tab: Browser, path: Path) -> None:
    """All answers, verdicts, charts and pictures are there, and each table that is not is in the file that its place names.
    Catches contents that only the script makes."""
    tab.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(path, WIDTHS["desk"])
        count = "return [document.querySelectorAll('table').length, document.images.length, document.querySelector('.filter').hidden]"
        tables, images, hidden = tab.run(count)
        named = tab.run("return [...document.querySelectorAll('details > noscript')].map(part => part.textContent)")
    finally:
        tab.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert (tables, images, hidden) == (path.read_text().count("<table"), 2, True)
    assert all(named)
    assert {"In tiny-cpu.md"} <= set(named)
