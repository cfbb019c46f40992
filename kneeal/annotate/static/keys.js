"use strict";
// Which key was meant: digits by their place as well as by what they type, letters by the letter where it is a Latin one.
// So 0 to 4 grade on AZERTY and Czech keyboards without Shift, and I inverts on Cyrillic, Greek, Hebrew and Arabic ones.
function keyOf(event) {
  const place = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  if (place && !event.shiftKey && (event.key.length === 1 || event.key === "Dead")) return place[1];
  if (event.key.length > 1) return event.key;
  const typed = event.key.toLowerCase();
  if (/[0-9a-z?+=-]/.test(typed)) return typed;
  const letter = /^Key([A-Z])$/.exec(event.code);
  return letter ? letter[1].toLowerCase() : typed;
}
