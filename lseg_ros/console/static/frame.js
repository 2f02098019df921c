// Reads the server's frames; see frame_message in encode.py.

export async function readFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const [first, second] = header.parts;
  const start = 4 + length;
  const image = first ? await bitmap(new Uint8Array(buffer, start, first)) : null;
  const rest = new Uint8Array(buffer, start + first, second);
  const values = header.layer === "mask" ? await places(rest, header.grid[2]) : await grays(await bitmap(rest));
  return { header, image, values };
}

export const bitmap = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Returns the pixels of a mask as indices of labels.
async function places(bytes, size) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return size === 2 ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

// Returns the bytes of a gray image.
export async function grays(picture) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const found = new Uint8Array(data.length / 4);
  for (let i = 0; i < found.length; i++) found[i] = data[4 * i];
  return found;
}

// Returns a color for each value, as little-endian RGBA words.
export function labelColors(labels, wide) {
  const table = new Uint32Array(wide ? 65536 : 256);
  labels.forEach(({ color: [red, green, blue] }, place) => {
    table[place] = (255 << 24) | (blue << 16) | (green << 8) | red;
  });
  return table; // unknown pixels stay transparent
}

// Colors for confidence and scores, from dark blue through green to yellow, brighter with every step.
const HEAT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
export const heatColors = Uint32Array.from({ length: 256 }, (_, value) => {
  const at = (value / 255) * (HEAT.length - 1);
  const low = Math.min(Math.floor(at), HEAT.length - 2);
  const [red, green, blue] = HEAT[low].map((c, i) => Math.round(c + (at - low) * (HEAT[low + 1][i] - c)));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
});

export function paint(canvas, values, width, height, table) {
  canvas.width = width;
  canvas.height = height;
  const pixels = new Uint32Array(width * height);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[values[i]];
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
}

// Returns each label's share of the picture.
export function sharesOf(values, count) {
  const counts = new Uint32Array(65536);
  for (const value of values) counts[value] += 1;
  return Array.from({ length: count }, (_, place) => counts[place] / values.length);
}
