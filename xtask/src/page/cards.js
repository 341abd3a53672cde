// What Microsoft's renderer makes of cards. `events` is what it finds wrong with one, `element` what it shows.

"use strict";

function render(content) {
    const card = new AdaptiveCards.AdaptiveCard();
    const context = new AdaptiveCards.SerializationContext();
    card.hostConfig = new AdaptiveCards.HostConfig({ fontFamily: "Liberation Sans" });
    card.parse(content, context);
    const parsed = Array.from({ length: context.eventCount }, (_, at) => context.getEventAt(at));
    const events = [...parsed, ...card.validateProperties().validationEvents].map((event) => event.message);
    const element = card.render();
    document.querySelector("main").replaceChildren(element);
    return { events, element };
}

// What is wrong with how a card is shown, `plain` being the same one about a plain word.
function flaws(plain, sent) {
    const template = parts(render(plain).element);
    const { events, element } = render(sent);
    const found = [...events];
    const blocks = [...element.querySelectorAll(".ac-richTextBlock")];
    const shown = JSON.stringify(blocks.map((block) => block.textContent));
    const said = JSON.stringify(lines(sent).filter((line) => line !== ""));
    if (shown !== said) found.push(`shows ${shown} instead of ${said}`);
    const seen = (block) => block.getClientRects().length > 0 && simple(block.innerText) === simple(block.textContent);
    const hidden = blocks.filter((block) => !seen(block));
    if (hidden.length > 0) found.push(`hides some of ${hidden[0].textContent}`);
    const { names, attributes, active } = parts(element);
    found.push(...beyond(names, template.names).map((name) => `has an element ${name}`));
    found.push(...beyond(attributes, template.attributes).map((name) => `has an attribute ${name}`));
    if (active > template.active) found.push("has more to click");
    return found;
}

// How many of these cards that have more than their template are found out: something to fill in, text that leads elsewhere
// or cannot be seen, another button.
function control(plain) {
    const text = { type: "RichTextBlock", inlines: [{ type: "TextRun", text: "more" }] };
    const action = { type: "Action.OpenUrl", title: "More", url: "https://evil.example" };
    const elements = [
        { type: "Input.Text", id: "x" },
        { type: "Container", items: [text], selectAction: action },
        { ...text, isVisible: false },
    ];
    const cards = elements.map((element) => ({ ...plain, body: [...plain.body, element] }));
    cards.push({ ...plain, actions: [...plain.actions, action] });
    return cards.filter((card) => flaws(plain, card).length > 0).length;
}

// What there is of elements in it.
function parts(element) {
    const all = [...element.querySelectorAll("*")];
    const attributes = new Set(all.flatMap((one) => one.getAttributeNames()));
    const active = element.querySelectorAll("a, button, input, [onclick], [tabindex], [role=button], [role=link]").length;
    return { names: new Set(all.map((one) => one.localName)), attributes, active };
}

function beyond(found, known) {
    return [...found].filter((one) => !known.has(one));
}

// The text of each block in a card, in order.
function lines(part) {
    if (Array.isArray(part)) return part.flatMap(lines);
    if (part === null || typeof part !== "object") return [];
    if (part.type === "RichTextBlock") return [part.inlines.map((run) => run.text).join("")];
    return Object.values(part).flatMap(lines);
}

function simple(text) {
    return text.replace(/\s+/g, " ").trim();
}
