-- Runs after citeproc. A reference stays in one column: Typst 0.15 loses the label of a block that begins at the very end
-- of one, and every citation of it is then an error.
function Div(div)
  if FORMAT == 'typst' and div.classes:includes('csl-entry') then
    div.attributes['typst:breakable'] = 'false'
    return div
  end
end
