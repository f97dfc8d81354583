-- Numbers figures, tables, equations and sections, and resolves @fig:x, @tbl:x, @eq:x and @sec:x.
-- Typst numbers by its own labels; for HTML the numbers are written here. Must run before citeproc.
-- In a preview (metadata `preview`), where the rest of the article is absent, references show their labels.

local typst = FORMAT:match 'typst'
local names = {fig = 'Figure', tbl = 'Table', eq = 'Equation', sec = 'Section'}
local counts = {fig = 0, tbl = 0, eq = 0}
local numbers, referenced, bibliography = {}, {}, {}
local section, appendix, preview = {0, 0, 0, 0, 0, 0}, false, false

local function kind(id) return names[id:match '^(%a+):' or ''] and id:match '^(%a+):' end
local function raw(text) return pandoc.RawBlock('typst', text) end
local function fail(message) error(message, 0) end

local function name_of(id) return (id:gsub('^%a+:', '')) end

local function declare(id)
  if numbers[id] then fail('the label ' .. id .. ' is defined twice') end
  counts[kind(id)] = counts[kind(id)] + 1
  numbers[id] = preview and name_of(id) or tostring(counts[kind(id)])
  return names[kind(id)] .. '\u{a0}' .. numbers[id]
end

local function lead(label) return pandoc.Span({pandoc.Str(label .. '.'), pandoc.Space()}, {class = 'caption-label'}) end

local function caption_inlines(block)
  local caption = pandoc.utils.blocks_to_inlines(block.caption.long)
  if #caption == 0 then fail('a figure or table has no caption') end
  return caption
end

-- A float of Typst: spans both columns where it is `wide`.
local function float(id, figure_kind, classes, caption, body)
  local place = 'placement: auto, '
  -- At the foot of a page one across both columns would lie on those of a column.
  if classes:includes 'here' then place = '' elseif classes:includes 'wide' then place = 'placement: top, scope: "parent", ' end
  local blocks = pandoc.Blocks {raw('#figure(kind: ' .. figure_kind .. ', ' .. place .. 'caption: ['), pandoc.Plain(caption)}
  blocks:extend {raw '], ['}
  blocks:extend(body)
  blocks:extend {raw('])<' .. id .. '>')}
  return blocks
end

local function header(h)
  if h.classes:includes 'unnumbered' then return end
  if h.classes:includes 'appendix' then appendix, section = true, {0, 0, 0, 0, 0, 0} end
  section[h.level] = section[h.level] + 1
  for deeper = h.level + 1, 6 do section[deeper] = 0 end
  local number = table.concat(section, '.', 1, h.level)
  if appendix then number = number:gsub('^%d+', function(n) return string.char(64 + tonumber(n)) end) end
  if preview then return end
  if kind(h.identifier) == 'sec' then numbers[h.identifier] = number end
  if typst then
    if not h.classes:includes 'appendix' then return end
    -- long tables may break over columns and pages, and have their rows close together
    return {raw '#show figure: set block(breakable: true)\n#set table(inset: (x: 3.2pt, top: 1pt, bottom: 2pt))', raw '#counter(heading).update(0)',
            raw '#set heading(numbering: "A.1", supplement: [Appendix])', h}
  end
  h.content:insert(1, pandoc.Span(pandoc.Str(number), {class = 'header-section-number'}))
  return h
end

local function figure(f)
  local image
  f:walk {Image = function(i) image = i end}
  local id = image and image.identifier ~= '' and image.identifier or f.identifier
  if kind(id) ~= 'fig' then return end
  local label, caption, wide = declare(id), caption_inlines(f), image.classes:includes 'wide'
  image.identifier = ''
  if typst then
    local body = raw(('#image("%s", width: 100%%, alt: "%s")'):format(image.src, image.attributes.alt))
    return float(id, 'image', image.classes, caption, {body}), false
  end
  caption:insert(1, lead(label))
  f.identifier, f.classes = id, wide and {'wide'} or {}
  f.caption.long = {pandoc.Plain(caption)}
  return f, false
end

local function table_box(div)
  if kind(div.identifier) ~= 'tbl' then return end
  local label, content, notes = declare(div.identifier), nil, pandoc.Blocks {}
  for _, block in ipairs(div.content) do
    if block.t == 'Table' then content = block else notes:insert(block) end
  end
  if not content then fail('the block ' .. div.identifier .. ' holds no table') end
  local caption, wide = caption_inlines(content), div.classes:includes 'wide'
  content.caption.long = {}
  if typst then
    -- pandoc wraps the table in a figure of its own, which must not count
    local body = pandoc.Blocks {raw '#set figure(numbering: none, placement: none)\n#show figure: set block(above: 0pt, below: 0pt)', content}
    if #notes > 0 then
      body:insert(raw '#table-notes[')
      body:extend(notes)
      body:insert(raw ']')
    end
    return float(div.identifier, 'table', div.classes, caption, body), false
  end
  local key = div.identifier:gsub(':', '-') .. '-caption'
  content.attributes['aria-labelledby'] = key
  local scrolled = {{'tabindex', '0'}, {'role', 'region'}, {'aria-labelledby', key}} -- in this order in every build
  caption:insert(1, lead(label))
  local boxes = pandoc.Blocks {
    pandoc.Div({pandoc.Plain(caption)}, {id = key, class = 'caption'}),
    pandoc.Div({content}, pandoc.Attr('', {'scroll'}, scrolled)),
  }
  if #notes > 0 then boxes:insert(pandoc.Div(notes, {class = 'notes'})) end
  return pandoc.Div(boxes, {id = div.identifier, class = wide and 'table wide' or 'table'}), false
end

-- $$ maths $$ {#eq:id}, in a paragraph of its own
local function equation(p)
  local maths, label = p.content[1], p.content[#p.content]
  if not (maths and maths.t == 'Math' and maths.mathtype == 'DisplayMath' and label.t == 'Str') then return end
  local id = label.text:match '^{#(eq:[%w_-]+)}$'
  if not id then return end
  declare(id)
  if typst then return pandoc.Para {maths, pandoc.RawInline('typst', ' <' .. id .. '>')} end
  local number = pandoc.Span({pandoc.Str('(' .. numbers[id] .. ')')}, {class = 'eqno'})
  return pandoc.Div({pandoc.Plain {maths}, pandoc.Plain {number}}, {id = id, class = 'equation'})
end

local function reference(id)
  referenced[id] = true
  if not numbers[id] and not preview then fail('unknown cross-reference @' .. id) end
  if typst then return pandoc.RawInline('typst', '#ref(<' .. id .. '>)') end
  local number = numbers[id] or name_of(id)
  local name = number:match '^%u' and 'Appendix' or names[kind(id)]
  return pandoc.Link({pandoc.Str(name .. '\u{a0}' .. number)}, '#' .. id, '', {class = 'xref'})
end

local function cite(c)
  if not kind(c.citations[1].id) then
    for _, citation in ipairs(c.citations) do
      if not bibliography[citation.id] and not preview then fail('unknown citation @' .. citation.id) end
    end
    return
  end
  local out = pandoc.Inlines {}
  for i, citation in ipairs(c.citations) do
    if i > 1 then out:insert(pandoc.Str(i == #c.citations and ' and ' or ', ')) end
    out:insert(reference(citation.id))
  end
  return out
end

-- A cell of a table links to a page beside the article, which who has only the PDF has not.
local function link(l)
  if typst and not l.target:match '^#' and not l.target:match '^%a+:' then return l.content end
end

-- The division #abstract becomes metadata, for the templates to place.
local function lift_abstract(doc)
  return doc:walk {Div = function(div)
    if div.identifier ~= 'abstract' then return end
    doc.meta.abstract = pandoc.MetaBlocks(div.content)
    return {}
  end}, doc.meta.abstract
end

function Pandoc(doc)
  preview = doc.meta.preview ~= nil
  for _, entry in ipairs(pandoc.utils.references(doc)) do bibliography[entry.id] = true end
  doc = doc:walk {traverse = 'topdown', Header = header, Figure = figure, Div = table_box, Para = equation}
  doc = doc:walk {Cite = cite, Link = link}
  if preview then return doc end
  local unseen = pandoc.List {}
  for id in pairs(numbers) do
    if (kind(id) == 'fig' or kind(id) == 'tbl') and not referenced[id] then unseen:insert('@' .. id) end
  end
  unseen:sort()
  if #unseen > 0 then fail('shown, but the text never refers to it: ' .. table.concat(unseen, ', ')) end
  local lifted, abstract = lift_abstract(doc)
  lifted.meta.abstract = abstract
  return lifted
end
