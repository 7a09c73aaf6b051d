// As much of protobuf's wire format as the details of an error need: length-delimited fields.

function varint(data: Buffer, at: number): [value: number, next: number] {
  let value = 0;
  for (let shift = 0; shift < 63; shift += 7) {
    const byte = data[at++];
    if (byte === undefined) throw new RangeError("truncated message");
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return [value, at];
  }
  throw new RangeError("a varint that does not end");
}

/** The contents of every field `number` that is bytes, a string or a message. */
export function fields(data: Buffer, number: number): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  while (at < data.length) {
    let key: number;
    [key, at] = varint(data, at);
    const type = key % 8;
    if (type === 0) {
      [, at] = varint(data, at);
    } else if (type === 1 || type === 5) {
      at += type === 1 ? 8 : 4;
    } else if (type === 2) {
      let length: number;
      [length, at] = varint(data, at);
      if (at + length > data.length) throw new RangeError("truncated message");
      if (Math.floor(key / 8) === number) found.push(data.subarray(at, at + length));
      at += length;
    } else {
      throw new RangeError(`unknown wire type ${type}`);
    }
  }
  return found;
}

export function bytesOf(data: Buffer, number: number): Buffer {
  return fields(data, number).pop() ?? Buffer.alloc(0);
}

export function text(data: Buffer, number: number): string {
  return bytesOf(data, number).toString("utf8");
}
