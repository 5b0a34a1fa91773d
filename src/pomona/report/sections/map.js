"use strict";
// The map: look at an image under the pointer or by the arrow keys, zoom, move, highlight a label.
(() => {
  const { labels, points } = JSON.parse(document.getElementById("map-data").textContent);
  const frame = document.getElementById("map-frame");
  const svg = frame.querySelector("svg");
  const groups = [...svg.querySelectorAll(".dots")];
  const faces = [...frame.querySelectorAll(".faces img")];
  const full = svg.getAttribute("viewBox").split(" ").map(Number);
  const DEEPEST = 40, NEAR_PX = 24;
  let view = [...full], shown = -1, lit = -1, drag = null;

  const make = (tag, name, parent) => {
    const element = document.createElement(tag);
    element.className = name;
    return parent.appendChild(element);
  };
  const dot = (name) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", name);
    return svg.appendChild(path);
  };
  const ring = dot("ring"), core = dot("core");
  const tip = make("div", "tip", frame);
  const picture = make("img", "", tip);
  const words = make("div", "", tip);
  const label = make("b", "outside", words), path = make("span", "outside soft", words);
  tip.setAttribute("role", "status");
  tip.hidden = true;

  const onScreen = ([x, y]) => [
    ((x - view[0]) / view[2]) * frame.clientWidth,
    ((y - view[1]) / view[3]) * frame.clientHeight,
  ];
  const isThere = (point) => lit < 0 || point[2] === lit;

  const show = (index) => {
    shown = index;
    const point = points[index];
    tip.hidden = !point;
    const at = point ? `M${point[0]} ${point[1]}h.01` : "";
    ring.setAttribute("d", at);
    core.setAttribute("d", at);
    if (!point) return;
    core.setAttribute("style", groups[point[2]].getAttribute("style"));
    core.setAttribute("class", `core ${groups[point[2]].classList[1]}`);
    picture.hidden = !point[4];
    if (point[4]) picture.src = `data:image/webp;base64,${point[4]}`;
    picture.alt = "";
    label.textContent = labels[point[2]] ?? "(no label)";
    path.textContent = point[3];
    const [left, top] = onScreen(point);
    const right = frame.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, Math.min(left + 14, right))}px`;
    const above = top - tip.offsetHeight - 14;
    tip.style.top = `${above > 4 ? above : top + 14}px`;
  };

  const setView = (next) => {
    const width = Math.min(full[2], Math.max(full[2] / DEEPEST, next[2]));
    const height = (width / full[2]) * full[3];
    const x = Math.min(full[2] - width, Math.max(0, next[0]));
    const y = Math.min(full[3] - height, Math.max(0, next[1]));
    view = [x, y, width, height];
    svg.setAttribute("viewBox", view.join(" "));
    frame.classList.toggle("is-zoomed", width < full[2]);
    for (const face of faces) {
      const [left, top] = onScreen([face.dataset.x, face.dataset.y]);
      face.style.left = `${(100 * left) / frame.clientWidth}%`;
      face.style.top = `${(100 * top) / frame.clientHeight}%`;
    }
    show(shown);
  };
  // Around a place of the frame, in shares of its width and height.
  const zoom = (factor, x = 0.5, y = 0.5) => {
    const width = Math.min(full[2], Math.max(full[2] / DEEPEST, view[2] / factor));
    const height = (width / full[2]) * full[3];
    setView([view[0] + x * (view[2] - width), view[1] + y * (view[3] - height), width, height]);
  };
  const reset = () => setView([...full]);

  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const nearest = (cost, most) => {
    let best = -1, least = most;
    points.forEach((point, index) => {
      const found = isThere(point) ? cost(onScreen(point), index) : Infinity;
      if (found < least) [best, least] = [index, found];
    });
    return best;
  };
  const under = (event) => {
    const [left, top] = place(event);
    return nearest(([x, y]) => Math.hypot(x - left, y - top), NEAR_PX);
  };
  // The nearest in a direction, what lies aside counting double.
  const step = (x, y) => {
    const from = shown < 0 ? [frame.clientWidth / 2, frame.clientHeight / 2] : onScreen(points[shown]);
    const next = shown < 0
      ? nearest(([a, b]) => Math.hypot(a - from[0], b - from[1]), Infinity)
      : nearest(([a, b], index) => {
        const along = (a - from[0]) * x + (b - from[1]) * y;
        const aside = Math.abs((a - from[0]) * y) + Math.abs((b - from[1]) * x);
        return index !== shown && along > 0 && along * 2 >= aside ? along + 2 * aside : Infinity;
      }, Infinity);
    if (next < 0) return;
    show(next);
    const [left, top] = onScreen(points[next]);
    if (left < 0 || top < 0 || left > frame.clientWidth || top > frame.clientHeight)
      setView([points[next][0] - view[2] / 2, points[next][1] - view[3] / 2, view[2], view[3]]);
  };
  const highlight = (number) => {
    lit = lit === number ? -1 : number;
    frame.classList.toggle("has-lit", lit >= 0);
    groups.forEach((group, index) => group.classList.toggle("lit", index === lit));
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === lit));
    if (shown >= 0 && !isThere(points[shown])) show(-1);
    if (lit >= 0) reset();
  };

  frame.tabIndex = 0;
  frame.setAttribute("role", "application");
  frame.setAttribute("aria-label",
    "Map of the images: the arrow keys go from image to image, plus and minus zoom, 0 shows all");
  frame.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0),
      ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
      0: reset, Escape: () => show(-1),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  frame.addEventListener("pointerdown", (event) => {
    drag = { at: place(event), view: [...view] };
    frame.setPointerCapture(event.pointerId);
    show(under(event));
  });
  frame.addEventListener("pointermove", (event) => {
    if (!drag) return show(under(event));
    const [left, top] = place(event);
    setView([
      drag.view[0] - ((left - drag.at[0]) / frame.clientWidth) * view[2],
      drag.view[1] - ((top - drag.at[1]) / frame.clientHeight) * view[3],
      view[2], view[3],
    ]);
  });
  for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => { drag = null; });
  frame.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
  frame.addEventListener("blur", () => show(-1));
  frame.addEventListener("dblclick", (event) => {
    const [left, top] = place(event);
    zoom(2, left / frame.clientWidth, top / frame.clientHeight);
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const [left, top] = place(event);
    zoom(Math.exp(-event.deltaY / 200), left / frame.clientWidth, top / frame.clientHeight);
  }, { passive: false });

  const tools = make("div", "tools", frame.parentElement);
  for (const [text, name, act] of [["+", "Zoom in", () => zoom(1.5)], ["−", "Zoom out", () => zoom(1 / 1.5)], ["Show all", "Show all", reset]]) {
    const button = make("button", "", tools);
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", act);
  }
  make("span", "soft", tools).textContent = "Choose a label below to highlight it.";
  const buttons = [...document.querySelectorAll(".legend li")].map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => highlight(Number(item.dataset.label)));
    item.append(button);
    return button;
  });
})();
