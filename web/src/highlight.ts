// Colours for code in any language: comments, strings, numbers and words that many languages share. Knows no grammar.
import { h, type ComponentChildren } from 'preact';

const kLongest = 40_000;

const kWords = new Set(
  `abstract and as async await auto bool break case catch char class const constexpr continue crate def
  default del delete do double elif else enum except export extends extern false False final finally float
  fn for from func function global if impl import in int interface is lambda let local long match mod
  module mut namespace new nil not null None nullptr or package pass private protected pub public raise
  return self Self short signed sizeof static struct super switch template then this throw trait true True
  try type typedef typename union unsigned use using var virtual void while with yield fi done esac echo
  end begin select where insert update create table SELECT FROM WHERE INSERT INTO VALUES`.split(/\s+/),
);

const kPattern = new RegExp(
  [
    String.raw`(?<comment>\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|(?![\s\S]))|(?<=^|\s)#[^\n]*|(?<=^|\s)--\s[^\n]*)`,
    String.raw`(?<string>"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'|${'`'}(?:[^${'`'}\\]|\\.)*${'`'}?)`,
    String.raw`(?<number>\b\d[\w.]*)`,
    String.raw`(?<word>[A-Za-z_]\w*)`,
  ].join('|'),
  'gm',
);

export function highlight(code: string): ComponentChildren {
  if (code.length > kLongest) return code;
  const parts: ComponentChildren[] = [];
  let end = 0;
  const colour = (kind: string, text: string, at: number) => {
    if (at > end) parts.push(code.slice(end, at));
    parts.push(h('span', { class: `hl-${kind}`, key: at }, text));
    end = at + text.length;
  };
  for (const match of code.matchAll(kPattern)) {
    const { comment, string, number, word } = match.groups!;
    if (comment !== undefined && !/^#(include|define|if|endif|pragma)/.test(comment))
      colour('comment', comment, match.index);
    else if (string !== undefined) colour('string', string, match.index);
    else if (number !== undefined) colour('number', number, match.index);
    else if (word !== undefined && kWords.has(word)) colour('word', word, match.index);
  }
  parts.push(code.slice(end));
  return parts;
}
