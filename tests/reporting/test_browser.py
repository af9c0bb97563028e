"""The pages in a real browser: nothing in its console, nothing fetched, a phone's width, keys."""

import dataclasses
import json
import os
import shutil

import pytest
from test_html import EVIL, LONG, RECIPE
from test_report import REPORT

from tfopt.report import Group
from tfopt.reporting.html import page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium with chromedriver on the PATH"
)

OPTIONS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
    "disable-background-networking", "disable-component-update", "disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    os.environ |= {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
    options = Options()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    for option in (*OPTIONS, f"user-data-dir={profile}"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    names = (Group(EVIL, "class", 3, reason=EVIL), Group(LONG, "class", 3, reason=LONG))
    image = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJ"
        "RU5ErkJggg=="
    )
    shown = (dataclasses.replace(REPORT.mistakes.shown[0], png=image),)
    mistakes = dataclasses.replace(REPORT.mistakes, shown=shown)
    report = dataclasses.replace(REPORT, groups=(*REPORT.groups, *names), mistakes=mistakes)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(report, recipe=RECIPE, name=LONG), encoding="utf-8")
    return path.as_uri()


def show(browser, address, *, width, scheme="light"):
    """Opens a page at a width, as a phone or a desktop would, and returns what it asked for."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get_log("performance")
    browser.get(address)
    messages = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def ground(browser):
    script = "return getComputedStyle(document.body).backgroundColor"
    return browser.execute_script(script)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_fetched_and_the_page_does_not_scroll_sideways(browser, address, width):
    asked = show(browser, address, width=width)
    assert asked[0] == address
    assert all(url.startswith("data:") for url in asked[1:])
    assert browser.get_log("browser") == []
    for opened in (False, True):
        if opened:  # the tables of the figures, and the long names
            browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = 1)")
        seen, whole = browser.execute_script(
            "const root = document.documentElement; return [root.clientWidth, root.scrollWidth]"
        )
        assert whole == seen <= width


def test_the_theme_follows_the_system_and_the_key(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, address, width=1280, scheme="dark")
    dark = ground(browser)
    show(browser, address, width=1280, scheme="light")
    light = ground(browser)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 24, 28)")

    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the verdict"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    while browser.switch_to.active_element.tag_name == "summary":  # the long name in the heading
        browser.switch_to.active_element.send_keys(Keys.TAB)
    button = browser.switch_to.active_element
    assert button.text == "Dark theme"
    button.send_keys(Keys.ENTER)
    assert (ground(browser), button.text) == (dark, "Light theme")
    drawn = browser.find_element(By.CSS_SELECTOR, "svg text")
    assert drawn.value_of_css_property("fill") != "rgb(0, 0, 0)"
    button.send_keys(Keys.SPACE)
    assert (ground(browser), button.text) == (light, "Dark theme")


def test_the_boxes_that_scroll_are_reached_by_key(browser, address):
    show(browser, address, width=360)
    unreached = browser.execute_script(
        "return [...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).overflowX == 'auto' && e.tabIndex < 0).map(e => e.outerHTML)"
    )
    assert unreached == []
