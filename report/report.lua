-- A reader for pandoc: what handin.py lists of a notebook becomes Typst. Formulas and pictures stand
-- at its start, each on its own line with a comment above, by which handin.py knows what Typst has
-- refused and what to set instead.

local MARKDOWN = 'commonmark+pipe_tables+raw_html+strikeout+task_lists+autolink_bare_uris+footnotes'
-- what MathJax knows and pandoc does not; a matrix without braces would merge with what is around
local macros = [[
\newcommand{\tag}[1]{\qquad(#1)}\newcommand{\notag}{}\newcommand{\textcolor}[2]{#2}
\newcommand{\hbox}[1]{\text{#1}}\newcommand{\fbox}[1]{\boxed{\text{#1}}}\newcommand{\require}[1]{}
\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}\newcommand{\mathbbm}[1]{\mathbb{#1}}
\newcommand{\hphantom}[1]{\phantom{#1}}\newenvironment{dcases}{\begin{cases}}{\end{cases}}
\newenvironment{matrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{smallmatrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{array}[1]{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
]]
local lines, targets, title = pandoc.List{'#import "report.typ": *'}, {}, nil
local cell, first_level, last_level = 0, 6, 0

local function encoded(value) -- without what else ends a line of Typst
  local json = pandoc.json.encode(value):gsub('\u{2028}', ' '):gsub('\u{2029}', ' ')
  return (json:gsub('\u{85}', ' '))
end

local function quoted(text) return encoded((text:gsub('[%c%s]+', ' '))) end

local function typst(inlines)
  local document = pandoc.Pandoc{pandoc.Plain(inlines)}
  return (pandoc.write(document, 'typst', {wrap_text = 'none'}):gsub('%s+', ' '):gsub(' $', ''))
end

local function comment(about)
  about.cell = cell
  return '//\u{e000}' .. encoded(about) -- a letter for private use: nobody else's text
end

local function warn(message) lines:insert(comment{warning = message}) end

-- Put Typst on a line of its own; return what stands for it in the text.
local function piece(code, what, instead, source)
  local name = 'p' .. #lines
  code = code:gsub('^image%(', '%0"' .. name .. '"')
  lines:insert(comment{what = what, instead = instead, source = source})
  lines:insert('#let ' .. name .. ' = ' .. code)
  return pandoc.RawInline('typst', '#' .. name .. ';')
end

local function picture(source, alt, width)
  local options, number, unit = '', (width or ''):match '^([%d.]+)([%a%%]*)$'
  if alt ~= '' then options = ', alt: ' .. quoted(alt) end
  if unit == '' or unit == 'px' then number, unit = number * 0.75, 'pt' end
  if unit == 'pt' and number + 0 > 480 then number, unit = 100, '%' end -- the width of the text
  if unit then options = options .. ', width: ' .. number .. unit end
  local instead = ('[%s: %s]'):format(alt ~= '' and alt or 'picture', source:sub(1, 80))
  return piece('image(' .. options .. ')', 'picture ' .. instead, quoted(instead), source)
end

local function define(definition)
  macros = macros .. definition
  return ''
end

-- Return TeX as pandoc knows it, and keep its definitions for the formulas after it.
local function simplified(tex)
  tex = (' ' .. tex):gsub('\\label%s*%b{}', ''):gsub('([^\\])\\|', '%1\\Vert ')
    :gsub('\\def%s*(\\%a+)%s*(%b{})', '\\newcommand{%1}%2')
    :gsub('\\def%s*(\\%a+)%s*#1%s*(%b{})', '\\newcommand{%1}[1]%2')
    :gsub('\\%a*command%*?%s*{?\\%a+}?%s*%[?%d?%]?%s*%b{}', define)
    :gsub('\\DeclareMathOperator%*?%s*{?\\%a+}?%s*%b{}', define)
    :gsub('(\\begin{%a+})%s*%[[tbc]%]', '%1')
    :gsub('\\begin{array}%s*{rcl}(.-)\\end{array}', '\\begin{split}%1\\end{split}')
    :gsub('(\\left%s*\\{%s*\\begin){array}%s*%b{}(.-\\end){array}', '%1{aligned}%2{aligned}')
    :gsub('\\left%s*\\{%s*\\begin{aligned}(.-)\\end{aligned}%s*\\right%s*%.',
      '\\begin{cases}%1\\end{cases}')
  for font in ('bf rm it sf tt cal'):gmatch '%a+' do
    tex = tex:gsub('{\\' .. font .. '%f[%A]', '\\math' .. font .. '{')
      :gsub('\\' .. font .. '%s*{', '\\math' .. font .. '{')
  end
  return tex
end

local function formula(tex, display)
  local simple, code = simplified(tex), nil
  if not simple:match '%S' then return pandoc.Str '' end
  local failures = pandoc.log.silence(function()
    code = typst{pandoc.Math(display and 'DisplayMath' or 'InlineMath', macros .. simple)}
  end)
  code = code:gsub('cases%b()', function(rows) return rows:gsub(' & ', '\2 quad ') end) -- as TeX
    :gsub('\\ ', '\1'):gsub('( & [^\1&]* [^\1&]*) & ', '%1\2 quad '):gsub('\1', '\\ '):gsub('\2', ' &')
    :gsub('delim: "||"', 'delim: "‖"'):gsub('vec%(upright%("bare"%)', 'vec(delim: #none,')
    :gsub('delim: "%(", upright%("bare"%)', 'delim: #none,')
    :gsub('; #none%)', ')') -- no row after a last line break
    :gsub('([%])]);', '%1 ;') -- ends a row, not the code before it
    :gsub('#scale%(x: (%d+%%), y: %d+%%%)%[(.-)%]', 'lr(size: #%1, %2)')
    :gsub(' ?\\|', ' class("normal", |)'):gsub('∥', ' bar.v.double ') -- no relations
    :gsub('bar%.v%.double', 'class("normal", ‖)')
    :gsub('stroke: black, inset: 3pt', 'stroke: 0.5pt, inset: 3pt, baseline: 50%% - 0.25em')
  code = #failures == 0 and 'formula(' .. code .. ')' or 'refused'
  local instead = ('raw(%s, block: %s)'):format(quoted(tex), display)
  return piece(code, 'formula ' .. tex:gsub('%s+', ' '), instead)
end

-- Formulas come hidden from pandoc: their hexadecimal digits between marks.
local HIDDEN = '()\u{e000}(%a)(%x*)\u{e000}()'

local function decoded(digits)
  return (digits:gsub('%x%x', function(digit) return string.char(tonumber(digit, 16)) end))
end

local function restored(text)
  return (text:gsub(HIDDEN, function(_, kind, digits)
    return (kind == 'd' and '$$%s$$' or '$%s$'):format(decoded(digits))
  end))
end

local filter = {
  Code = function(code) return pandoc.Code(restored(code.text)) end,
  CodeBlock = function(code)
    return pandoc.CodeBlock(restored(code.text), {class = code.classes[1]})
  end,
  Header = function(heading) -- levels from 1 on, without gaps
    last_level = math.min(heading.level - first_level, last_level) + 1
    heading.level = last_level
    return heading
  end,
  Image = function(image)
    local style = (image.attributes.style or ''):match '^width: *([%w.%%]+)'
    local alt = restored(pandoc.utils.stringify(image.caption))
    return picture(restored(image.src), alt, image.attributes.width or style)
  end,
  Link = function(link)
    local target = restored(link.target):gsub('%%(%x%x)', decoded)
    if targets[target] or not target:match '^#' and target ~= '' then return link end
    if pandoc.utils.stringify(link):match '%S' then
      warn(("link to '%s' leads nowhere, its text is shown"):format(target))
    end
    return link.content
  end,
  Math = function(math) return formula(math.text, math.mathtype == 'DisplayMath') end, -- of HTML
  Span = function(span)
    if span.classes:includes 'note' then return pandoc.Note{pandoc.Plain(span.content)} end
    local label = '#metadata(none)#label(' .. quoted(span.identifier) .. ')'
    if span.identifier ~= '' then span.content:insert(1, pandoc.RawInline('typst', label)) end
    return span.content
  end,
  Str = function(str)
    local found, from = pandoc.Inlines{}, 1
    for start, kind, digits, stop in str.text:gmatch(HIDDEN) do
      found:insert(pandoc.Str(str.text:sub(from, start - 1)))
      found:insert(formula(decoded(digits), kind == 'd'))
      from = stop
    end
    return found .. {pandoc.Str(str.text:sub(from))}
  end,
  Table = function(t) -- numbers as pandas aligns them
    t.identifier = ''
    if t.classes:includes 'dataframe' then
      t.colspecs = t.colspecs:map(function(spec) return {'AlignRight', spec[2]} end)
    end
    return t
  end,
}

-- Read HTML, and Markdown that holds any by way of HTML: they mix as in a browser.
local function read(text, kind)
  local format, html = kind == 'html' and 'html-auto_identifiers' or MARKDOWN, false
  local function found() html = true end
  local blocks = pandoc.read(text .. '\n', format).blocks
  blocks:walk{RawInline = found, RawBlock = found}
  if kind == 'html' or not html then return blocks end
  blocks = blocks:walk{Note = function(note)
    return pandoc.Span(pandoc.utils.blocks_to_inlines(note.content), {class = 'note'})
  end}
  return read(pandoc.write(pandoc.Pandoc(blocks), 'html', {wrap_text = 'none'}), 'html')
end

local function anchor(element) -- Typst knows only one place of a name
  if targets['#' .. element.identifier] then element.identifier = '' end
  targets['#' .. element.identifier] = element.identifier ~= ''
  return element
end

local structure = {Div = anchor, Span = anchor}
function structure.Header(heading) -- take the title out, name the others as Jupyter does
  heading.identifier = restored(pandoc.utils.stringify(heading)):gsub('%s', '-')
  anchor(heading)
  if title or heading.level > 1 then
    first_level = math.min(first_level, heading.level)
    return heading
  end
  heading.content:insert(1, pandoc.Span({}, {heading.identifier}))
  title = {cell = cell, content = heading.content}
  return {}
end

function Reader(input)
  local notebook, body = pandoc.json.decode(tostring(input), false), pandoc.Blocks{}
  for _, part in ipairs(notebook.parts) do
    cell = part.cell
    if part.kind == 'markdown' or part.kind == 'html' then
      part.blocks = read(part.text, part.kind):walk(structure)
      if #part.blocks == 0 and part.kind == 'html' then warn 'its HTML shows nothing on paper' end
    end
  end
  for number, part in ipairs(notebook.parts) do
    cell = part.cell
    body:insert(pandoc.RawBlock('typst', comment{what = 'text'}))
    if part.kind == 'picture' then
      local name = picture(part.text, part.alt, part.width).text:match 'p%d+'
      local following = notebook.parts[number + 1] -- of the same cell, it may be a caption
      local look = following and following.cell == cell and '#block(sticky: true, figure(%s))'
      body:insert(pandoc.RawBlock('typst', (look or '#figure(%s)'):format(name)))
    else
      local listing = pandoc.CodeBlock(part.text, {class = part.kind})
      body:extend(part.blocks and part.blocks:walk(filter) or {listing})
    end
  end
  title = title or {cell = 1, content = pandoc.Inlines(notebook.name)}
  cell = title.cell
  local heading = typst(title.content:walk(filter))
  lines:insert(comment{what = 'title'})
  lines:insert('#show: report.with(title: [' .. heading .. '], ..json(bytes(sys.inputs.about)))')
  body:insert(1, pandoc.RawBlock('typst', table.concat(lines, '\n')))
  return pandoc.Pandoc(body)
end
