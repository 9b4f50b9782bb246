// What a page owes to everybody who uses it, as complaints: none is good.
() => {
  const complaints = [];
  const say = (what, element) =>
    complaints.push(`${what}: ${(element?.outerHTML ?? "").slice(0, 140)}`);
  const visible = (element) => element.checkVisibility({ checkOpacity: true, visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)];

  // landmarks and headings
  for (const landmark of ["header", "nav", "main"]) {
    if (all(landmark).length !== 1) say(`not one <${landmark}>`);
  }
  if (all("h1").length !== 1) say("not one <h1>");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) say("a heading skips a level", heading);
    level = own;
  }
  for (const outside of [...document.body.children]) {
    if (!["HEADER", "MAIN"].includes(outside.tagName) && !outside.matches("a.skip")) say("outside of landmarks", outside);
  }
  if (!document.documentElement.lang) say("no language");
  if (!document.title) say("no title");

  // names
  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    [...(element.labels ?? [])].map((label) => label.textContent).join("") ||
    element.textContent;
  for (const control of all("input:not([type=hidden]), select, textarea, button, a, summary, [role=region]")) {
    if (!nameOf(control).trim()) say("no name", control);
  }
  for (const drawing of all("svg")) {
    if (drawing.getAttribute("role") !== "img" || !drawing.getAttribute("aria-label")) say("a drawing without words", drawing);
  }
  for (const table of all("table")) {
    if (!table.caption?.textContent) say("a table without a caption", table);
    if (table.querySelector("th:not([scope])")) say("a head without a scope", table);
  }
  const ids = all("[id]").map((element) => element.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) say(`id twice: ${id}`);
  for (const element of all("[aria-describedby]")) {
    if (!document.getElementById(element.getAttribute("aria-describedby"))) say("described by nothing", element);
  }

  // sizes
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) say(`scrolls sideways: ${document.documentElement.scrollWidth} > ${width}`);
  for (const target of all("button, select, input:not([type=hidden]), nav a, summary")) {
    const box = target.getBoundingClientRect();
    const large = target.type === "checkbox" ? target.closest(".check").getBoundingClientRect() : box;
    if (visible(target) && (large.height < 24 || large.width < 24)) say("too small to hit", target);
  }
  for (const element of all("main *")) {
    const box = element.getBoundingClientRect();
    const scrolls = element.closest(".scroll, pre");
    const clipped = getComputedStyle(element.closest("caption, thead") ?? element).position === "absolute";
    if (visible(element) && !scrolls && !clipped && box.width && box.right > width + 1) say("beyond the edge", element);
  }

  // contrast
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
      if (alpha > 0) say("a ground that is half transparent", at);
    }
    return [255, 255, 255];
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    if (!text.textContent.trim() || !visible(element) || element.closest("svg, option")) continue;
    const ratio = contrast(parse(getComputedStyle(element).color), groundOf(element));
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, element);
  }
  for (const shape of all("svg rect:not(.fill-empty), svg polyline")) {
    const style = getComputedStyle(shape);
    const color = shape.tagName === "rect" ? style.fill : style.stroke;
    const ratio = contrast(parse(color), groundOf(shape.closest("svg").parentElement));
    if (ratio < 3) say(`contrast of a shape ${ratio.toFixed(2)}`, shape);
  }
  return [...new Set(complaints)];
}
